"""`Sentinel` under its old name and with its old arguments runs a cluster."""

from __future__ import annotations

BEGIN = """
import multiprocessing, uuid
from django_q.cluster import Sentinel
from django_q.conf import Conf
from django_q.tasks import async_task, result
stop, start = multiprocessing.Event(), multiprocessing.Event()
"""


def test_sentinel_starts_and_stops_when_its_event_is_set(make_site):
    site = make_site("sqlite")
    answer = site.run(
        BEGIN
        + """
cluster_id = uuid.uuid4()
stop.set()
sentinel = Sentinel(stop, start, cluster_id, timeout=7)
stopped = sentinel.status() == Conf.STOPPED
answer = [start.is_set(), stopped, sentinel.timeout, sentinel.cluster.cluster_id == str(cluster_id)]
"""
    )
    assert answer == [True, True, 7, True]


def test_sentinel_executes_tasks_between_its_steps(make_site):
    site = make_site("sqlite")
    answer = site.run(
        BEGIN
        + """
task_id = async_task("jobs.mark", "one")
sentinel = Sentinel(stop, start, start=False)
before = [start.is_set(), sentinel.status() == Conf.STARTING or sentinel.status() == Conf.STOPPED]
sentinel.spawn_cluster()
value = result(task_id, wait=20000)
pids = {sentinel.pid, sentinel.pusher, sentinel.monitor, *sentinel.pool}
during = [value, len(pids), sentinel.pool_size, sentinel.reincarnations, sentinel.tob is not None]
stop.set()
sentinel.guard()
answer = before + during + [start.is_set(), sentinel.status() == Conf.STOPPED]
"""
    )
    assert answer == [False, True, "one", 5, 2, 0, True, True, True]
