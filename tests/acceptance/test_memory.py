"""Memory stays what it is, however many tasks go through; and nothing piles up inside a cluster."""

from __future__ import annotations

import os

from .site import eventually

TASKS = int(os.environ.get("DJANGO_Q_TASKS", "6000"))
"""Number of tasks; by hand, `DJANGO_Q_TASKS=100000`."""

SLACK = 3 * 2**20
"""Bytes by which a process may differ between two looks whatever it does."""


def enqueue(site, count: int) -> None:
    site.run(
        f"""
        from django_q.brokers import get_broker
        from django_q.conf import current_settings
        from django_q.wire.package import new_package
        from django_q.signing import PackageCodec
        codec, broker = PackageCodec.of(current_settings()), get_broker()
        for start in range(0, {count}, 1000):
            broker.enqueue_many([codec.dumps(new_package('math.floor', (1.5,))) for _ in range(1000)])
        """
    )


def memory(cluster) -> dict[int, int]:
    return {process.pid: process.memory_full_info().uss for process in cluster.family()}


def left(site) -> int:
    return site.run(
        "from django_q.brokers import get_broker; b = get_broker(); answer = b.queue_size() + b.lock_size()"
    )


def test_memory_of_every_process_stays_flat(make_site):
    site = make_site("redis", recycle=0, queue_limit=50)
    with site.cluster() as cluster:
        enqueue(site, 2000)
        eventually(lambda: left(site) == 0, within=60, why=lambda: cluster.log)
        early = memory(cluster)
        enqueue(site, TASKS - 2000)
        eventually(lambda: left(site) == 0, within=60 + TASKS / 300)
        late = memory(cluster)
    assert early.keys() == late.keys(), cluster.log
    grown = {pid: (early[pid], late[pid]) for pid in early if late[pid] > early[pid] * 1.05 + SLACK}
    assert not grown


def test_slow_monitor_holds_the_workers_back(make_site):
    site = make_site("redis", queue_limit=10)
    with site.cluster() as cluster:
        (monitor,) = eventually(lambda: cluster.pids("monitoring"))
        (frozen,) = cluster.freeze(monitor)
        site.run("from django_q.tasks import async_task\nfor n in range(1500): async_task('jobs.mark', n)")
        counts: list[int] = []
        eventually(lambda: counts.append(len(site.notes())) or (len(counts) > 150 and counts[-1] == counts[-150] > 0))
        assert counts[-1] < 1500
        frozen.resume()
        eventually(lambda: len(set(site.notes())) == 1500, within=60, why=lambda: cluster.log)
        assert len(site.notes()) == 1500


def test_worker_is_recycled_by_the_memory_it_holds_not_its_peak(make_site):
    site = make_site("redis", workers=1, max_rss=400_000)
    code = """
        from django_q.tasks import async_task, result
        answer = [result(async_task(*call), 30000) for call in (('jobs.pid',), ('jobs.peak', 600), ('jobs.pid',))]
        """
    with site.cluster() as cluster:
        assert len(set(site.run(code))) == 1, cluster.log
        assert "recycled" not in cluster.log


def test_worker_that_holds_too_much_is_recycled(make_site):
    site = make_site("redis", workers=1, max_rss=1000)
    with site.cluster() as cluster:
        code = "from django_q.tasks import async_task, result; answer = result(async_task('jobs.pid'), 30000)"
        first, second = site.run(code), site.run(code)
        assert first != second
        eventually(lambda: "recycled worker" in cluster.log, why=lambda: cluster.log)
