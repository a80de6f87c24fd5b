"""Settings that change how a cluster works."""

from __future__ import annotations

import os
import signal

import psutil
import pytest

from .saved import assert_failed, assert_succeeded, finished
from .site import eventually


def test_replaced_worker_has_the_processors_of_the_one_before(make_site):
    if (psutil.cpu_count() or 1) < 2:
        pytest.skip("one processor: there is nothing to choose from")
    site = make_site("sqlite", cpu_affinity=1)
    with site.cluster() as cluster:
        workers = eventually(lambda: len(found := cluster.pids("ready for work")) == 2 and found)
        before = [psutil.Process(pid).cpu_affinity() for pid in workers]
        assert [len(each) for each in before] == [1, 1]
        assert before[0] != before[1]
        os.kill(workers[0], signal.SIGKILL)
        (replaced,) = eventually(lambda: set(cluster.pids("ready for work")) - set(workers), why=lambda: cluster.log)
        assert psutil.Process(replaced).cpu_affinity() == before[0]


@pytest.mark.parametrize("daemonize", [True, False])
def test_daemonize_workers_decides_if_tasks_may_make_processes(make_site, daemonize):
    site = make_site("sqlite", daemonize_workers=daemonize)
    with site.cluster():
        task = finished(site, "async_task('jobs.make_process', ack_failure=True)")
    if daemonize:
        assert_failed(task, error="daemonic")
    else:
        assert_succeeded(task, result=0)


@pytest.mark.parametrize("kind", ["sqlite", "redis"])
def test_cluster_that_sends_no_schedules_runs_tasks_and_is_seen(make_site, kind):
    site = make_site(kind, scheduler=False)
    with site.cluster() as cluster:
        (scheduler,) = eventually(lambda: cluster.pids("scheduling"), why=lambda: cluster.log)
        seen = "from django_q.status import Stat; answer = [stat.status for stat in Stat.get_all()]"
        eventually(lambda: len(site.run(seen)) == 1, why=lambda: cluster.log)
        site.run("from django_q.tasks import async_task, result; result(async_task('jobs.mark', 'one'), 20000)")
        assert site.notes() == ["one"]
        assert cluster.pids("scheduling") == [scheduler], cluster.log
        assert cluster.stop() == 0


def test_name_chooses_an_alternative_cluster_with_its_settings(make_site):
    alternatives = {"other": {"workers": 1, "compress": True}}
    site = make_site("sqlite", ALT_CLUSTERS=alternatives)
    with site.cluster("--name", "other") as other:
        eventually(lambda: len(other.pids("ready for work")) == 1, why=lambda: other.log)
        mine, theirs = site.run(
            """
            from django_q.tasks import async_task
            answer = [async_task('jobs.mark', 'mine'), async_task('jobs.mark', 'theirs', cluster='other')]
            """
        )
        eventually(lambda: site.notes() == ["theirs"], why=lambda: other.log)
        with site.cluster() as default:
            eventually(lambda: sorted(site.notes()) == ["mine", "theirs"], why=lambda: default.log)
    queues = f"from django_q.models import Task; answer = [Task.objects.get(pk=p).cluster for p in {[mine, theirs]!r}]"
    assert site.run(queues) == ["acceptance", "other"]


@pytest.mark.parametrize("kind", ["sqlite", "postgres", "redis"])
def test_successes_are_kept_to_the_exact_limit_by_two_clusters(make_site, kind):
    site = make_site(kind, save_limit=10, compress=True)
    count = "from django_q.models import Success; answer = Success.objects.count()"
    with site.cluster() as first, site.cluster() as second:
        site.run(
            """
            from django.db import transaction
            from django_q.tasks import async_task
            with transaction.atomic():
                for number in range(200):
                    async_task('jobs.mark', number)
            """
        )
        eventually(lambda: len(site.notes()) == 200, within=60)
        assert first.stop() == 0
        assert second.stop() == 0
    assert site.run(count) == 10
    settings = site.folder / "site_settings.py"
    settings.write_text(settings.read_text().replace("'save_limit': 10", "'save_limit': 3"))
    with site.cluster() as cluster:
        site.run("from django_q.tasks import async_task; async_task('jobs.mark', 'last')")
        eventually(lambda: "last" in site.notes(), why=lambda: cluster.log)
        assert cluster.stop() == 0
    assert site.run(count) == 3


@pytest.mark.parametrize("kind", ["sqlite", "postgres"])
def test_excess_successes_are_deleted_also_without_schedules(make_site, kind):
    site = make_site(kind, save_limit=10, scheduler=kind == "postgres")
    site.run(
        """
        import datetime
        from django_q.models import Success, Task
        then = datetime.datetime(2026, 1, 1, tzinfo=datetime.timezone.utc)
        moments = (then + datetime.timedelta(seconds=number) for number in range(5000))
        Success.objects.bulk_create(
            Success(id=f"{number:032}", name=str(number), func="jobs.mark", started=then, stopped=moment)
            for number, moment in enumerate(moments)
        )
        """
    )
    count = "from django_q.models import Success; answer = Success.objects.count()"
    with site.cluster() as cluster:
        site.run("from django_q.tasks import async_task; async_task('jobs.mark', 'new')")
        eventually(lambda: site.run(count) == 10, why=lambda: (site.run(count), cluster.log))
    assert site.run("from django_q.models import Success; answer = Success.objects.filter(name='4999').count()") == 1
