"""`manage.py qhealth`."""

from __future__ import annotations

import json
from datetime import timedelta
from io import StringIO

import pytest
from django.core.cache import cache
from django.core.management import call_command
from django.utils import timezone
from django_q.brokers import broker_of
from django_q.exceptions import BrokerUnavailable
from django_q.models import Record
from django_q.status import Stat
from django_q.wire.codec import PackageCodec
from django_q.wire.package import new_package

pytestmark = pytest.mark.django_db


@pytest.fixture(autouse=True)
def broker():
    """Begin without statistics and packages."""
    cache.clear()
    broker = broker_of("test")
    broker.delete_queue()
    yield broker
    broker.delete_queue()


def run(cluster_id: str = "one", status: str = "Idle", queue: str = "test") -> None:
    Stat(7, cluster_id, status=status, queue=queue, host="Orion").save()


def health(*arguments: str) -> tuple[int, str]:
    """Return the exit status and the output."""
    out = StringIO()
    try:
        call_command("qhealth", *arguments, stdout=out, stderr=out)
    except SystemExit as ended:
        return int(ended.code), out.getvalue()
    return 0, out.getvalue()


def waiting(*, seconds: float, status: str = "queued", **columns) -> None:
    then = timezone.now() - timedelta(seconds=seconds)
    defaults = {"name": "task", "func": "math.floor", "queue": "test", "enqueued_at": then}
    Record.objects.create(id=f"{seconds:032.0f}", status=status, **defaults | columns)


@pytest.mark.parametrize("status", ["Idle", "Working"])
def test_one_cluster_that_works_is_healthy(status):
    run(status=status)
    assert health() == (0, "1 of 1 cluster is healthy.\n")


def test_no_cluster_is_not_healthy():
    assert health() == (1, "No cluster publishes statistics.\n")


@pytest.mark.parametrize("status", ["Starting", "Stopping", "Stopped"])
def test_cluster_that_takes_no_tasks_is_not_healthy(status):
    run(status=status)
    assert health() == (1, f"No cluster is idle or working: Orion 7 {status}.\n")


def test_cluster_that_stops_beside_another_is_healthy():
    run()
    run("two", status="Stopping")
    assert health() == (0, "1 of 2 clusters are healthy.\n")


@pytest.mark.parametrize("name", ["mail", "two"])
def test_cluster_is_chosen_by_name_or_id(name):
    run()
    assert health("--cluster", name) == (1, f"No cluster '{name}' runs.\n")
    run("two", queue="mail")
    assert health("--cluster", name) == (0, "1 of 1 cluster is healthy.\n")


@pytest.mark.parametrize(("limit", "status"), [("2", 0), ("1", 1), ("0", 1)])
def test_queue_may_contain_the_maximum(broker, limit, status):
    run()
    for _ in range(2):
        broker.enqueue("package")
    found, text = health("--max-queue", limit)
    assert found == status
    assert text == (
        "1 of 1 cluster is healthy.\n" if not status else f"2 tasks wait in queue 'test', more than {limit}.\n"
    )


def test_queue_of_another_cluster_does_not_count(broker):
    run("two", queue="mail")
    broker.enqueue("package")
    assert health("--max-queue", "0", "--cluster", "mail")[0] == 0
    assert health("--max-queue", "0")[0] == 1


@pytest.mark.parametrize(("limit", "status"), [("120", 0), ("30", 1)])
def test_tracked_task_may_wait_for_the_maximum(limit, status):
    run()
    waiting(seconds=60)
    found, text = health("--max-age", limit)
    assert found == status
    assert ("waited for 60 seconds, more than 30" in text) == bool(status)


@pytest.mark.parametrize(("limit", "status"), [("120", 0), ("30", 1)])
def test_untracked_task_may_wait_for_the_maximum(broker, limit, status):
    run()
    package = new_package("math.floor", (1.5,)) | {"started": timezone.now() - timedelta(seconds=60)}
    broker.enqueue(PackageCodec.of(broker.settings).dumps(package))
    found, text = health("--max-age", limit)
    assert found == status
    assert ("waited for 60 seconds, more than 30" in text) == bool(status)


def test_delayed_task_waits_from_its_earliest_execution():
    run()
    waiting(seconds=600, status="scheduled", run_after=timezone.now() + timedelta(seconds=60))
    waiting(seconds=900, status="scheduled", run_after=timezone.now() - timedelta(seconds=20))
    assert health("--max-age", "10")[0] == 1
    assert health("--max-age", "100")[0] == 0


def test_running_and_finished_tasks_do_not_wait():
    run()
    waiting(seconds=600, status="running")
    waiting(seconds=700, status="succeeded")
    assert health("--max-age", "10")[0] == 0


def test_all_reasons_are_printed(broker):
    broker.enqueue("package")
    waiting(seconds=60)
    status, text = health("--max-queue", "0", "--max-age", "1")
    assert (status, len(text.splitlines())) == (1, 3)


def test_broker_that_is_unavailable_is_a_reason(monkeypatch, broker):
    def fail(self):
        raise BrokerUnavailable("It is down.")

    run()
    monkeypatch.setattr(type(broker), "queue_size", fail)
    assert health("--max-queue", "5") == (1, "It is down.\n")


def test_cache_that_is_not_shared_is_the_reason(settings):
    settings.CACHES = {"default": {"BACKEND": "django.core.cache.backends.locmem.LocMemCache"}}
    status, text = health()
    assert status == 1
    assert "LocMemCache" in text


def test_json_has_the_reasons():
    status, text = health("--json")
    assert status == 1
    assert json.loads(text) == {
        "healthy": False,
        "reasons": ["No cluster publishes statistics."],
        "clusters": 0,
        "healthy_clusters": 0,
    }
