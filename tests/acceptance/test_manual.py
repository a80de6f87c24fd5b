"""The manual's first examples, on a real cluster."""

from __future__ import annotations

import signal

from .saved import assert_failed, finished
from .site import eventually, lives


def test_first_example_runs(site):
    with site.cluster():
        answer = site.run(
            """
            from django_q.tasks import async_task, result, fetch
            task_id = async_task('math.copysign', 2, -2)
            from math import copysign
            other = async_task(copysign, 2, -2)
            hooked = async_task('math.modf', 2.5, hook='jobs.hook', task_name='hooked')
            answer = [result(task_id, 20000), result(other, 20000), result(hooked, 20000)]
            """
        )
        assert answer == [-2.0, -2.0, [0.5, 2.0]]
        eventually(lambda: site.notes() == ["hook hooked True (0.5, 2.0)"], why=site.notes)


def test_failure_is_saved_with_its_traceback(site):
    with site.cluster():
        task = finished(site, "async_task('jobs.boom', 7, ack_failure=True)")
    assert_failed(task, attempt=1)
    assert task.result.startswith("boom 7 : Traceback")


def test_stop_ends_all_processes_with_status_zero(site):
    with site.cluster() as cluster:
        family = cluster.family()
        assert len(family) >= 6
        assert cluster.stop() == 0
        assert "has stopped." in cluster.log
        eventually(lambda: not any(lives(process) for process in family))


def test_interrupt_stops_the_cluster(site):
    with site.cluster() as cluster:
        cluster.signal(signal.SIGINT)
        assert cluster.process.wait(20) == 0


def test_run_once_starts_and_stops(site):
    done = site.manage("qcluster", "--run-once")
    assert done.returncode == 0
    assert "has stopped." in done.stderr


def test_statistics_show_the_running_cluster(site):
    with site.cluster() as cluster:
        code = """
            from django_q.monitor import Stat
            found = [[each.cluster_id, each.status, each.sentinel, sorted(each.workers)] for each in Stat.get_all()]
            answer = [each for each in found if each[1] != "Starting"]  # published once a second
            """
        ((cluster_id, status, sentinel, workers),) = eventually(lambda: site.run(code), why=lambda: cluster.log)
        family = [process.pid for process in cluster.family()]
        assert status in ("Idle", "Working")
        assert sentinel == family[1]
        assert len(workers) == 2
        assert set(workers) <= set(family)
        code = f"from django_q.monitor import Stat; answer = str(Stat.get({cluster_id!r}).status)"
        assert site.run(code) in ("Idle", "Working")
    assert site.run(code) in ("Stopped", "Stopping")


def test_two_clusters_share_the_work(site):
    count = 600  # many times what both clusters hold
    with site.cluster() as first, site.cluster() as second:
        site.run(
            f"""
            from django.db import transaction
            from django_q.tasks import async_task
            with transaction.atomic():
                for number in range({count}):
                    async_task('jobs.mark', number)
            """
        )
        eventually(lambda: len(site.notes()) >= count, within=90, why=lambda: len(site.notes()))
        assert first.stop() == 0
        assert second.stop() == 0
        assert sorted(map(int, site.notes())) == list(range(count))
        assert first.log.count("processing") > 0
        assert second.log.count("processing") > 0
