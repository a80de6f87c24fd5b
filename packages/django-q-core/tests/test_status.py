"""`Stat`, by the manual's chapters 1.10.3 and 1.10.4."""

from __future__ import annotations

import socket
from datetime import timedelta

import pytest
from django.core.cache import cache
from django.utils import timezone
from django_q import monitor, status
from django_q.brokers import get_broker
from django_q.exceptions import UnreadablePackage
from django_q.settings import current_settings
from django_q.status import Stat, Status
from django_q.wire.codec import PackageCodec, ResultCodec, StatCodec
from django_q.wire.package import new_package


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


def publish(signer, value, cluster_id="one"):
    """Put a value in the place of the statistics of a cluster."""
    text = value if signer is None else signer.of(current_settings()).dumps(value)
    get_broker().set_stat(Stat.get_key(cluster_id), text, 60)


def test_published_statistics_are_no_package():
    Stat(7, "one").save()
    text = get_broker().get_stat(Stat.get_key("one"))
    assert StatCodec.of(current_settings()).loads(text).pid == 7
    with pytest.raises(UnreadablePackage, match="foreign signature"):
        PackageCodec.of(current_settings()).loads(text)


def test_statistics_of_a_public_edition_are_read():
    publish(PackageCodec, Stat(7, "one", workers=[8]))
    Stat(9, "two").save()
    assert Stat.get("one").workers == [8]
    assert {stat.cluster_id for stat in Stat.get_all()} == {"one", "two"}


@pytest.mark.parametrize(
    ("signer", "value"),
    [
        (PackageCodec, new_package("math.floor", (1,))),
        (ResultCodec, Stat(7, "one")),
        (PackageCodec, None),
        (StatCodec, [1]),
        (None, "no signature"),
        (None, "a:b:c"),
        (None, ""),
    ],
    ids=["package", "result", "none", "list", "text", "colons", "empty"],
)
def test_value_that_is_no_statistics_is_left_out(signer, value):
    publish(signer, value)
    Stat(8, "two").save()
    assert [stat.cluster_id for stat in Stat.get_all()] == ["two"]
    assert type(Stat.get("one")) is Status


def test_statistics_with_a_former_key_are_read(settings):
    settings.SECRET_KEY = "old"
    Stat(7, "one").save()
    publish(PackageCodec, Stat(8, "two"), "two")
    settings.SECRET_KEY, settings.SECRET_KEY_FALLBACKS = "new", ["old"]
    assert {stat.cluster_id for stat in Stat.get_all()} == {"one", "two"}
