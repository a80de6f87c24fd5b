"""Leases of tasks are renewed until their outcomes have arrived. No process is started here."""

from __future__ import annotations

import time

import pytest
from django_q.cluster.ipc.state import ClusterState
from django_q.cluster.leases import RenewalInterval, TaskLeases
from django_q.exceptions import BrokerUnavailable

RETRY = 60.0


@pytest.fixture
def broker(renewer):
    return renewer


@pytest.fixture
def state():
    return ClusterState(2)


@pytest.fixture
def leases(broker, state):
    """Leases of three tasks, of which none has been received by a worker."""
    leases = TaskLeases(broker, state, RETRY)
    leases.held.update({1: "a", 2: "b", 3: "c"})
    state.pushed = 3
    return leases


def begin(state, worker, number):
    """Let a worker receive a task and record it."""
    state.slots[worker].begin(b"message", 0.0, number)


def test_held_leases_are_renewed_in_a_third_of_retry(leases, broker):
    before = time.monotonic()
    assert leases.renew() == set()
    assert broker.renewed == ["a", "b", "c"]
    assert before + RETRY / 3 <= leases.renew_at <= time.monotonic() + RETRY / 3


def test_lost_leases_are_reported_once(leases, broker):
    broker.lost = ["b"]
    assert leases.renew() == {2}
    assert leases.renew() == set()
    assert broker.renewed == ["a", "b", "c", "a", "c"]


def test_failed_renewal_stays_due(leases, broker):
    broker.unavailable = True
    leases.renew_at = before = time.monotonic()
    with pytest.raises(BrokerUnavailable):
        leases.renew()
    assert leases.renew_at == before
    assert leases.is_late


def test_without_leases_no_renewal_is_late(broker, state):
    leases = TaskLeases(broker, state, RETRY)
    assert not leases.is_late
    assert leases.renew() == set()
    assert broker.renewed == []


def test_finished_task_is_forgotten_after_two_checks(leases, state):
    begin(state, 0, 1)
    begin(state, 0, 2)
    leases.forget_finished()
    assert list(leases.held) == [1, 2, 3]
    leases.forget_finished()
    assert list(leases.held) == [2, 3]


def test_withdrawn_task_is_forgotten_without_a_worker(leases, state):
    state.withdrawn = 3
    for _ in range(2):
        leases.forget_finished()
    assert not leases.held


def test_tasks_before_those_of_all_workers_are_forgotten(leases, state):
    begin(state, 0, 3)
    leases.forget_passed()
    assert list(leases.held) == [1, 2, 3]  # the other worker may still record task 1
    begin(state, 1, 2)
    leases.forget_passed()
    assert list(leases.held) == [2, 3]


def test_short_lease_makes_the_renewal_earlier(broker, state):
    broker.leases_vary, broker.lease_seconds = True, {"long": RETRY, "short": 3.0}.__getitem__
    leases = TaskLeases(broker, state, RETRY)
    leases.held[1] = "long"
    leases.renew()
    leases.held[2] = "short"
    now = time.monotonic()
    leases.began(now)
    assert leases.renew_at == now + 1.0


def test_interval_is_that_of_the_shortest_lease():
    interval = RenewalInterval(RETRY, {"a": 3.0, "b": 30.0}.__getitem__)
    assert interval.shortest(["b", "a"]) == 1.0
    assert interval.shortest([]) == RETRY / 3
    assert RenewalInterval(RETRY).shortest(["a"]) == RETRY / 3
