"""What a cluster has ready before it makes its processes."""

from __future__ import annotations

import re

from django.core.cache.backends import base
from django.utils.functional import SimpleLazyObject
from django_q.cluster.pool import settle_patterns


def test_patterns_are_compiled_once_for_all_forks(monkeypatch):
    compiled = []
    pattern = SimpleLazyObject(lambda: compiled.append("once") or re.compile("x"))
    monkeypatch.setattr(base, "a_pattern", pattern, raising=False)
    settle_patterns()
    assert compiled == ["once"]
    assert pattern.match("x")
    assert compiled == ["once"]
