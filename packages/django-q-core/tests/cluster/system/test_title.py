from __future__ import annotations

from types import SimpleNamespace
from unittest.mock import patch

from django_q.cluster.system import title


def test_process_gets_its_title() -> None:
    titles: list[str] = []
    with patch.object(title, "setproctitle", SimpleNamespace(setproctitle=titles.append)):
        assert title.set_title("qcluster shop worker")
    assert titles == ["qcluster shop worker"]


def test_process_runs_without_setproctitle() -> None:
    with patch.object(title, "setproctitle", None):
        assert not title.set_title("qcluster shop worker")
