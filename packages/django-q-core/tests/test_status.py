"""`Stat`, by the manual's chapters 1.10.3 and 1.10.4."""

from __future__ import annotations

import socket
from datetime import timedelta

import pytest
from django.core.cache import cache
from django.utils import timezone
from django_q import monitor, status
from django_q.brokers import get_broker
from django_q.status import Stat, Status


@pytest.fixture(autouse=True)
def empty_cache():
    """Begin without statistics."""
    cache.clear()


def test_both_modules_offer_the_same_classes():
    assert (monitor.Stat, monitor.Status) == (status.Stat, status.Status)


def test_stat_has_the_attributes_of_the_manual():
    manual = {
        "cluster_id", "tob", "reincarnations", "status", "task_q_size", "done_q_size", "pusher", "monitor", "sentinel",
        "workers",
    }  # fmt: skip
    assert manual <= set(vars(Stat(7, "one")))


def test_uptime_is_the_seconds_since_the_birth():
    assert Stat(tob=timezone.now() - timedelta(seconds=75)).uptime() == pytest.approx(75, abs=5)


def test_uptime_of_an_unborn_cluster_is_zero():
    assert Stat().uptime() == 0


@pytest.mark.parametrize(("tasks", "results", "empty"), [(0, 0, True), (1, 0, False), (0, 1, False)])
def test_queues_are_empty_without_tasks_and_results(tasks, results, empty):
    assert Stat(task_q_size=tasks, done_q_size=results).empty_queues() is empty


def test_cluster_is_found_by_its_id():
    Stat(7, "one", workers=[8]).save()
    assert Stat.get("one").workers == [8]


def test_cluster_is_found_by_its_process_id():
    Stat(7, "one", workers=[8]).save()
    assert Stat.get(7).workers == [8]


def test_process_of_this_host_comes_first():
    Stat(7, "one", host="elsewhere").save()
    Stat(7, "two", host=socket.gethostname()).save()
    Stat(7, "three", host="elsewhere").save()
    assert Stat.get(7).cluster_id == "two"


def test_two_arguments_are_process_id_and_cluster_id():
    Stat(7, "one", workers=[8]).save()
    assert Stat.get(7, "one").workers == [8]


@pytest.mark.parametrize("key", ["one", 7])
def test_second_argument_may_be_a_broker(key):
    Stat(7, "one", workers=[8]).save()
    assert Stat.get(key, get_broker()).workers == [8]
    assert Stat.get(key, broker=get_broker()).workers == [8]


def test_cluster_that_publishes_nothing_is_stopped():
    for found in (Stat.get("one"), Stat.get(7), Stat.get(7, "one")):
        assert type(found) is Status
        assert (found.status, found.workers) == ("Stopped", [])


def test_all_clusters_are_listed():
    Stat(7, "one").save()
    Stat(8, "two").save()
    assert {stat.cluster_id for stat in Stat.get_all()} == {"one", "two"}
    assert len(Stat.get_all(get_broker())) == 2


def test_statistics_signed_with_another_key_are_left_out(settings):
    Stat(7, "one").save()
    settings.SECRET_KEY = "another key"
    Stat(8, "two").save()
    assert [stat.cluster_id for stat in Stat.get_all()] == ["two"]
    assert Stat.get("one").status == "Stopped"
