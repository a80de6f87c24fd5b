"""The short form of the chaos run, and the books' own arithmetic."""

from __future__ import annotations

import random

import pytest

from .ledger import Kill, Ledger, Outage, Run, read_runs
from .run import make, make_with_accidents

ACCIDENTS = 3
"""Number of accidents in a short run, chosen at random; `hatch run chaos:run --accidents` has all of them."""


@pytest.mark.parametrize("kind", ["sqlite", "redis", "postgres"])
def test_ledger_balances_when_processes_are_killed_at_random(request, tmp_path, kind):
    servers = started(request, *([] if kind == "sqlite" else [kind]))
    balances(lambda seed: make(tmp_path, kind, servers, seed))


@pytest.mark.parametrize(("kind", "servers"), [("redis", ["redis", "postgres"]), ("postgres", ["postgres"])])
def test_ledger_balances_when_servers_are_away_or_block(request, tmp_path, kind, servers):
    started(request, "redis")  # whose program the cache needs, too
    servers = started(request, *servers)
    balances(lambda seed: make_with_accidents(tmp_path, kind, servers, seed, count=ACCIDENTS, block=8))


def started(request, *names):
    servers = [request.getfixturevalue(f"{name}_server") for name in names]
    for server in servers:
        server.start()
    return servers


def balances(prepare):
    seed = random.randrange(10**6)
    print(f"seed {seed}")
    chaos = prepare(seed)
    with chaos.stack:
        ledger = chaos.run(tasks=300, kills=12)
    assert ledger.balances, f"seed {seed}: {ledger.summary()}\nlost {ledger.lost}\n{ledger.unexplained_doubles()}"


def book(**more):
    values = {"sent": ["a"], "runs": {}, "saved": {}, "waiting": set(), "kills": [], "clusters": {1: 0, 2: 1}}
    return Ledger(**(values | more))


def test_task_that_is_nowhere_is_lost():
    assert book().lost == ["a"]
    assert not book(waiting={"a"}).lost
    assert not book(saved={"a": 1}, runs={"a": [Run(1, 1, True)]}).lost


def test_record_of_another_state_is_wrong():
    succeeded = {"saved": {"a": 1}, "runs": {"a": [Run(1, 1, True)]}}
    assert book(**succeeded, records={"a": "succeeded"}).balances
    for status in ("missing", "running", "retrying", "failed"):
        assert book(**succeeded, records={"a": status}).wrong_records == ["a"]
        assert not book(**succeeded, records={"a": status}).balances


def test_second_run_without_a_kill_is_unexplained():
    runs = {"a": [Run(10, 1, True), Run(20, 2, True)]}
    assert book(runs=runs).unexplained_doubles() == ["a"]
    assert book(runs=runs, kills=[Kill(15, 1, "monitor", 9)]).unexplained_doubles() == ["a"]
    assert book(runs=runs, kills=[Kill(15, 0, "worker", 9)]).unexplained_doubles() == ["a"]
    assert not book(runs=runs, kills=[Kill(15, 0, "worker", 1)]).unexplained_doubles()
    assert not book(runs=runs, kills=[Kill(15, 0, "monitor", 9)]).unexplained_doubles()
    assert book(runs=runs, kills=[Kill(25, 0, "worker", 1)]).unexplained_doubles() == ["a"]


def test_second_run_is_explained_by_an_outage_that_ends_leases():
    runs = {"a": [Run(10, 1, True), Run(20, 2, True)]}
    assert not book(runs=runs, outages=[Outage("broker", 12, 18, leases=True)]).unexplained_doubles()
    assert book(runs=runs, outages=[Outage("broker", 12, 13, leases=True)]).unexplained_doubles() == ["a"]
    assert book(runs=runs, outages=[Outage("database", 12, 18, leases=False)]).unexplained_doubles() == ["a"]
    assert book(runs=runs, outages=[Outage("broker", 2, 5, leases=True)]).unexplained_doubles() == ["a"]
    assert book(runs=runs, outages=[Outage("broker", 21, 28, leases=True)]).unexplained_doubles() == ["a"]


def test_notes_are_read_as_runs():
    runs, parents = read_runs(["x sent 0", "x begins 5 3 12.5", "x ends 5", "y begins 6 3 13.5"])
    assert runs == {"x": [Run(12.5, 5, True)], "y": [Run(13.5, 6, False)]}
    assert parents == {5: 3, 6: 3}


def test_summary_tells_what_explains_second_runs():
    runs = {
        "a": [Run(10, 1, True), Run(20, 2, True)],
        "b": [Run(10, 2, True), Run(20, 1, True)],
        "c": [Run(30, 1, True), Run(35, 2, True)],
    }
    kills = [Kill(15, 0, "worker", 1), Kill(15, 1, "monitor", 9)]
    outages = [Outage("broker that hangs", 31, 38, leases=True)]
    summary = book(runs=runs, kills=kills, outages=outages).summary()
    assert "explained by: 1 broker that hangs, 1 kill of its worker, 1 kill of the monitor" in summary
