"""The short form of the chaos run, and the books' own arithmetic."""

from __future__ import annotations

import random

import pytest

from .ledger import Kill, Ledger, Run, read_runs
from .run import Chaos, make_site


@pytest.mark.parametrize("kind", ["sqlite", "redis", "postgres"])
def test_ledger_balances_when_processes_are_killed_at_random(request, tmp_path, kind):
    server = None if kind == "sqlite" else request.getfixturevalue(f"{kind}_server")
    seed = random.randrange(10**6)
    print(f"seed {seed}")
    chaos = Chaos(make_site(tmp_path, kind, server), seed, restart=None if server is None else server.restart)
    ledger = chaos.run(tasks=300, kills=12)
    assert ledger.balances, f"seed {seed}: {ledger.summary()}\nlost {ledger.lost}\n{ledger.unexplained_doubles()}"


def book(**more):
    values = {"sent": ["a"], "runs": {}, "saved": {}, "waiting": set(), "kills": [], "clusters": {1: 0, 2: 1}}
    return Ledger(**(values | more))


def test_task_that_is_nowhere_is_lost():
    assert book().lost == ["a"]
    assert not book(waiting={"a"}).lost
    assert not book(saved={"a": 1}, runs={"a": [Run(1, 1, True)]}).lost


def test_second_run_without_a_kill_is_unexplained():
    runs = {"a": [Run(10, 1, True), Run(20, 2, True)]}
    assert book(runs=runs).unexplained_doubles() == ["a"]
    assert book(runs=runs, kills=[Kill(15, 1, "monitor", 9)]).unexplained_doubles() == ["a"]
    assert book(runs=runs, kills=[Kill(15, 0, "worker", 9)]).unexplained_doubles() == ["a"]
    assert not book(runs=runs, kills=[Kill(15, 0, "worker", 1)]).unexplained_doubles()
    assert not book(runs=runs, kills=[Kill(15, 0, "monitor", 9)]).unexplained_doubles()
    assert book(runs=runs, kills=[Kill(25, 0, "worker", 1)]).unexplained_doubles() == ["a"]


def test_notes_are_read_as_runs():
    runs, parents = read_runs(["x begins 5 3 12.5", "x ends 5", "y begins 6 3 13.5"])
    assert runs == {"x": [Run(12.5, 5, True)], "y": [Run(13.5, 6, False)]}
    assert parents == {5: 3, 6: 3}
