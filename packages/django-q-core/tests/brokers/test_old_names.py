from __future__ import annotations

import importlib

import pytest
from django_q.brokers.registry import BROKERS
from django_q.exceptions import MissingPlugin

OLD = [
    ("redis_broker", "Redis", "redis"),
    ("aws_sqs", "Sqs", "sqs"),
    ("mongo", "Mongo", "mongo"),
    ("ironmq", "IronMQBroker", "ironmq"),
    ("disque", "Disque", "disque"),
    ("orm", "ORM", "orm"),
]


@pytest.mark.parametrize(("module", "name", "distribution"), OLD)
def test_missing_plugin_of_an_old_name(module: str, name: str, distribution: str, monkeypatch: pytest.MonkeyPatch):
    monkeypatch.setattr(BROKERS, "_found", {})
    monkeypatch.setattr(BROKERS, "_loaded", {})
    with pytest.raises(MissingPlugin, match=f"pip install django-q-{distribution}"):
        getattr(importlib.import_module(f"django_q.brokers.{module}"), name)


@pytest.mark.parametrize(("module", "name", "_distribution"), OLD)
def test_old_name_is_the_new_class(module: str, name: str, _distribution: str):
    old = importlib.import_module(f"django_q.brokers.{module}")
    try:
        found = getattr(old, name)
    except MissingPlugin as error:
        pytest.skip(str(error))
    assert found.__name__ == name


def test_module_of_an_old_name_has_no_other_names():
    assert not hasattr(importlib.import_module("django_q.brokers.redis_broker"), "Sqs")
