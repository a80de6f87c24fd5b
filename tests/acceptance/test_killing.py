"""SIGKILL to any process of a cluster: it goes on or ends as a whole, and no task is lost."""

from __future__ import annotations

import os
import signal

import pytest

from .saved import assert_failed, finished
from .site import eventually, lives

pytestmark = pytest.mark.parametrize("site", ["sqlite", "redis"], indirect=True)

ROLES = {"worker": "ready for work", "pusher": "pushing tasks", "monitor": "monitoring", "scheduler": "scheduling"}


@pytest.fixture
def site(request, make_site):
    """A site that tries the task of a killed worker again soon; on Redis that is not the default."""
    return make_site(request.param, ack_failures=False, retry=5)


def send(site, count: int, func: str = "jobs.mark", first: int = 0) -> None:
    site.run(
        f"""
        from django_q.tasks import async_task
        for number in range({first}, {first + count}):
            async_task({func!r}, number)
        """
    )


def all_run_and_are_saved(site, cluster, count: int) -> None:
    eventually(lambda: set(site.notes()) == {str(n) for n in range(count)}, within=60, why=lambda: cluster.log)
    eventually(
        lambda: site.run("from django_q.models import Task; answer = Task.objects.count()") == count,
        within=60,
        why=lambda: cluster.log,
    )


def kill_until_replaced(cluster, role: str) -> None:
    """Kill the processes of a role, and wait for their successors."""
    victims = eventually(lambda: cluster.pids(role), why=lambda: cluster.log)
    for pid in victims:
        os.kill(pid, signal.SIGKILL)
    eventually(lambda: set(cluster.pids(role)) - set(victims), why=lambda: cluster.log)


def test_cluster_goes_on_when_an_idle_process_is_killed(site):
    with site.cluster() as cluster:
        for role in ROLES.values():
            kill_until_replaced(cluster, role)
            expected = len(site.notes()) + 4
            send(site, 4)
            eventually(lambda count=expected: len(site.notes()) == count, within=20, why=lambda: cluster.log)
        assert cluster.stop() == 0


def test_scheduler_that_hangs_delays_neither_the_guard_nor_tasks(site):
    with site.cluster() as cluster:
        (scheduler,) = eventually(lambda: cluster.pids(ROLES["scheduler"]), why=lambda: cluster.log)
        (frozen,) = cluster.freeze(scheduler)
        try:
            (victim, *_) = eventually(lambda: cluster.pids(ROLES["worker"]), why=lambda: cluster.log)
            os.kill(victim, signal.SIGKILL)
            eventually(lambda: len(cluster.pids(ROLES["worker"])) == 2 and not lives(victim), why=lambda: cluster.log)
            assert victim not in cluster.pids(ROLES["worker"])
            send(site, 4)
            eventually(lambda: len(site.notes()) == 4, why=lambda: cluster.log)
        finally:
            frozen.resume()


@pytest.mark.parametrize("role", ROLES)
def test_no_task_is_lost_when_a_busy_process_is_killed(site, role):
    with site.cluster() as cluster:
        send(site, 200)
        eventually(lambda: len(site.notes()) > 5)
        victim = cluster.pids(ROLES[role])[-1]
        os.kill(victim, signal.SIGKILL)
        all_run_and_are_saved(site, cluster, 200)


@pytest.mark.parametrize("roles", [("worker", "monitor"), ("pusher", "scheduler"), tuple(ROLES)], ids="-".join)
def test_no_task_is_lost_when_several_processes_die_at_once(site, roles):
    with site.cluster() as cluster:
        send(site, 200)
        eventually(lambda: len(site.notes()) > 5)
        victims = [pid for role in roles for pid in cluster.pids(ROLES[role])]
        for pid in victims:
            os.kill(pid, signal.SIGKILL)
        all_run_and_are_saved(site, cluster, 200)
        for role in roles:
            eventually(lambda role=role: set(cluster.pids(ROLES[role])) - set(victims), why=lambda: cluster.log)
        assert cluster.stop() == 0


@pytest.mark.parametrize("outer", ["parent", "sentinel"])
def test_no_orphan_is_left_when_an_outer_process_is_killed(site, outer):
    with site.cluster() as cluster:
        site.run("from django_q.tasks import async_task; async_task('jobs.slow', 'long', 60)")
        eventually(lambda: site.notes(), why=lambda: cluster.log)
        family = cluster.family()
        victim = family[0] if outer == "parent" else family[1]
        victim.kill()
        eventually(lambda: not any(lives(process) for process in family), within=10)
        assert cluster.process.wait(5) != 0


def test_worker_that_dies_in_a_task_is_a_failed_attempt(site):
    with site.cluster() as cluster:
        for how, says in (("kill", "SIGKILL"), ("exit", "exit status 3"), ("segfault", "SIGSEGV")):
            options = f"ack_failure=True, hook='jobs.hook', task_name={how!r}"
            task = finished(site, f"async_task('jobs.suicide', 'x', {how!r}, {options})")
            assert_failed(task, error=says, attempt=1)
            assert task.args == ["x", how]
            eventually(lambda how=how: f"hook {how} False failure" in site.notes(), why=lambda: cluster.log)


def test_system_exit_in_a_task_is_its_failure(site):
    with site.cluster():
        task = finished(site, "async_task('jobs.suicide', 'x', 'sysexit', ack_failure=True)")
        assert_failed(task)
        assert task.result.startswith("4 : Traceback")
