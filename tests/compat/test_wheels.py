"""The public editions' wheels themselves, old and new side by side."""

from __future__ import annotations

from typing import TYPE_CHECKING

import pytest
from django.db import connections
from django_q.models import Schedule, Task
from django_q.tasks import async_task
from django_q.wire.codec import PackageCodec
from django_q.wire.package import new_package
from django_q_orm.models import OrmQ

from tests.compat.conftest import migrate
from tests.compat.editions import NAME, Installed
from tests.compat.expected import CASES, CHAIN, RUNS, columns, expected, plain
from tests.compat.test_golden_databases import MODELS, schema

if TYPE_CHECKING:
    from collections.abc import Callable
    from pathlib import Path

pytestmark = pytest.mark.compat


@pytest.mark.parametrize("compress", [False, True], ids=["plain", "compressed"])
def test_they_read_our_packages(edition: Installed, compress: bool, golden_settings: None) -> None:
    codec = PackageCodec(NAME, compress=compress)
    ours = {case: new_package(**_ours(case)) for case in [*CASES, "chain"]}
    read = edition.read({case: codec.dumps(package) for case, package in ours.items()})
    assert read == {case: plain(package) for case, package in ours.items()}


@pytest.mark.parametrize("compress", [False, True], ids=["plain", "compressed"])
def test_we_read_their_packages(edition: Installed, compress: bool, golden_settings: None, tmp_path: Path) -> None:
    for case, text in edition.write(tmp_path, compress=compress).items():
        package, wanted = PackageCodec(NAME).loads(text), expected(case)
        assert {key: package[key] for key in wanted} == wanted


def test_their_database_is_adopted(edition: Installed, tmp_path: Path, reach: Callable[[Path], str]) -> None:
    rows = edition.fill(tmp_path / "old.sqlite3")
    alias = reach(tmp_path / "old.sqlite3")
    migrate(alias)
    for name, model in MODELS.items():
        ours = [columns(row) for row in model.objects.using(alias).order_by("pk")]
        assert [{key: row[key] for key in rows[name][0]} for row in ours] == rows[name]


def test_they_go_on_queueing_into_an_adopted_database(
    edition: Installed, tmp_path: Path, reach: Callable[[Path], str]
) -> None:
    """Old web processes and a new cluster share one table during an upgrade."""
    path = tmp_path / "write.sqlite3"
    edition.migrate(path)
    alias = reach(path)
    migrate(alias)
    edition.write(tmp_path)
    assert not OrmQ.objects.using(alias).exists()  # write.py takes back what it has queued


@pytest.mark.django_db
def test_their_cluster_runs_what_we_queue(
    edition: Installed, tmp_path: Path, reach: Callable[[Path], str], settings
) -> None:
    """New web processes and an old cluster share one table during an upgrade."""
    path = tmp_path / "shared.sqlite3"
    edition.migrate(path)
    alias = reach(path)
    migrate(alias)
    settings.Q_CLUSTER = {"name": NAME, "orm": alias, "ack_failures": True}
    ids = [
        async_task(case["func"], *case["args"], **case["kwargs"], q_options=case["options"] | new)
        for case in RUNS.values()
        for new in ({}, {"track": True, "priority": -7})
    ]
    connections[alias].close()
    shown = edition.work(path)
    assert {row["id"] for row in shown} == {repr(task_id) for task_id in ids}
    assert [columns(task) for task in Task.objects.using(alias).order_by("pk")] == [
        columns(task) | row for task, row in zip(Task.objects.using(alias).order_by("pk"), shown, strict=True)
    ]


@pytest.mark.parametrize("stop", ["0003", "0009", "0012", "0013", "0014"])
def test_database_that_stopped_halfway_is_adopted(
    django_q: Installed, stop: str, tmp_path: Path, reach: Callable[[Path], str]
) -> None:
    django_q.migrate(tmp_path / "old.sqlite3", "django_q", stop)
    alias, fresh = reach(tmp_path / "old.sqlite3"), reach(tmp_path / "fresh.sqlite3")
    migrate(alias)
    migrate(alias)
    migrate(fresh)
    assert schema(alias) == schema(fresh)
    assert not Task.objects.using(alias).exists()
    assert not Schedule.objects.using(alias).exists()
    connections[alias].check_constraints()


def _ours(case: str) -> dict[str, object]:
    if case == "chain":
        (func, args, kwargs), *rest = CHAIN
        return {"func": func, "args": args, "kwargs": kwargs, "group": "a chain", "chain": rest}
    options = dict(CASES[case]["options"])
    name = options.pop("task_name", None)
    return {key: CASES[case][key] for key in ("func", "args", "kwargs")} | {"name": name} | options
