"""The activity of a real cluster, from which the admin draws charts, on each database."""

from __future__ import annotations

import os
import signal

import pytest

from .site import eventually

SEND = """
from django_q.tasks import async_task
for number in range({first}, {last}):
    async_task("jobs.mark", number, {options})
async_task.options(ack_failure=True)("jobs.boom", "boom {first}")
"""
SUMS = """
from django.db.models import Sum
from django_q.models import Activity
answer = list(Activity.objects.aggregate(a=Sum("successes"), b=Sum("failures"), c=Sum("waits")).values())
"""
PACKAGES = """
from django_q.brokers import get_broker
answer = [get_broker().queue_size(), get_broker().lock_size()]
"""
UNWANTED = ("save=False", "cached=60")


def send(site, first: int, last: int, options: str = "") -> None:
    """Send tasks of which one fails, and wait until all are acknowledged."""
    site.run(SEND.format(first=first, last=last, options=options))
    expected = {f"boom {first}", *map(str, range(first, last))}
    eventually(lambda: expected <= set(site.notes()), within=30)
    eventually(lambda: site.run(PACKAGES) == [0, 0], within=30)


def test_numbers_are_written_while_the_cluster_runs(site) -> None:
    with site.cluster() as cluster:
        send(site, 0, 5)
        eventually(lambda: site.run(SUMS) == [5, 1, 6], within=30, why=lambda: cluster.log)


@pytest.mark.parametrize("options", UNWANTED)
def test_results_that_the_database_lacks_count(make_site, options: str) -> None:
    site = make_site("redis", save_limit=-1)
    with site.cluster() as cluster:
        send(site, 0, 3, options)
        assert cluster.stop() == 0
    assert site.run(SUMS) == [3, 1, 4]


def test_killed_processes_lose_no_number(site) -> None:
    with site.cluster() as cluster:
        send(site, 0, 4)
        eventually(lambda: site.run(SUMS) == [4, 1, 5], within=30, why=lambda: cluster.log)
        send(site, 4, 6)
        for role in ("scheduling", "monitoring"):
            for pid in cluster.pids(role):
                os.kill(pid, signal.SIGKILL)
        send(site, 6, 9)
        assert cluster.stop() == 0
    assert site.run(SUMS) == [9, 3, 12]


def test_two_clusters_add_their_numbers(site) -> None:
    for first in (0, 4):
        with site.cluster() as cluster:
            send(site, first, first + 4)
            assert cluster.stop() == 0
    assert site.run(SUMS) == [8, 2, 10]
    assert site.run("from django_q.models import Activity; answer = Activity.objects.count()") >= 2


def test_idle_cluster_writes_no_row(site) -> None:
    with site.cluster() as cluster:
        assert cluster.stop() == 0
    assert site.run(SUMS) == [None, None, None]
