"""Leases of unsaved outcomes are renewed until the acknowledgement."""

from __future__ import annotations

import time

import pytest
from django_q.cluster.lease_keeper import LeaseKeeper
from django_q.cluster.leases import RenewalInterval
from django_q.testing import eventually


@pytest.fixture
def broker(renewer):
    return renewer


@pytest.fixture
def keeper(broker):
    keeper = LeaseKeeper("monitor", lambda: broker, RenewalInterval(0.06), lambda: None)
    keeper.start()
    yield keeper
    keeper.stop()
    keeper.join(5)
    assert not keeper.is_alive()


def test_held_lease_is_renewed_repeatedly(keeper, broker):
    keeper.hold("a")
    eventually(lambda: broker.renewed.count("a") > 2, within=5)


def test_dropped_lease_is_not_renewed(keeper, broker):
    keeper.hold("a")
    keeper.drop(["a"])
    keeper.hold("b")
    eventually(lambda: "b" in broker.renewed, within=5)
    assert "a" not in broker.renewed


def test_lost_lease_is_not_renewed(keeper, broker):
    broker.lost.append("a")
    keeper.hold("a")
    eventually(lambda: not keeper.due, within=5)


def test_failed_renewal_is_repeated_when_the_broker_is_back(keeper, broker):
    broker.unavailable = True
    keeper.hold("a")
    keeper.collect = lambda: setattr(broker, "unavailable", False)
    eventually(lambda: "a" in broker.renewed, within=5)


def test_interval_of_renewals_begins_before_the_call(broker):
    keeper = LeaseKeeper("monitor", lambda: broker, RenewalInterval(60), lambda: None)
    keeper.hold("a")
    called: list[float] = []
    broker.renew = lambda ack_ids: called.append(time.monotonic()) or []
    keeper.renew(broker, ["a"])
    assert keeper.due["a"] <= called[0] + 20


def test_lease_that_the_pusher_could_not_renew_is_due_at_once(broker):
    """The outcome of its task arrives during an outage; the lease has a third of its time left."""
    renewed = time.monotonic() - 40
    keeper = LeaseKeeper("monitor", lambda: broker, RenewalInterval(60), lambda: None, renewed=lambda: renewed)
    keeper.hold("a")
    assert keeper._due() == ["a"]


def test_short_lease_is_renewed_in_a_third_of_it(broker):
    interval = RenewalInterval(60, {"a": 3, "b": 60}.__getitem__)
    keeper = LeaseKeeper("monitor", lambda: broker, interval, lambda: None)
    before = time.monotonic()
    keeper.hold("a")
    keeper.hold("b")
    assert keeper.due["a"] - before < 1.5
    assert keeper.due["b"] - before > 19
    assert keeper.pause <= 0.5
    keeper.renew(broker, ["a"])
    assert keeper.due["a"] <= time.monotonic() + 1


def test_outage_is_logged_at_its_start_and_at_its_end(keeper, broker, caplog):
    caplog.set_level("INFO", "django-q")
    broker.unavailable = True
    keeper.hold("a")
    eventually(lambda: keeper.backoff.failures > 3, within=5)
    broker.unavailable = False
    eventually(lambda: broker.renewed.count("a") > 1, within=5)
    assert caplog.text.count("could not be renewed") == 1
    assert caplog.text.count("are renewed again") == 1


def test_delivery_without_receipt_is_not_held(keeper):
    keeper.hold(None)
    assert not keeper.due


def test_error_of_a_check_does_not_end_the_thread(keeper, broker, caplog):
    def fail():
        keeper.collect = lambda: None
        raise RuntimeError("once")

    keeper.collect = fail
    keeper.hold("a")
    eventually(lambda: "a" in broker.renewed, within=5)
    assert "once" in caplog.text
