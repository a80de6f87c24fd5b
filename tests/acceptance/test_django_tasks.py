"""Tasks of `django.tasks` on a cluster."""

from __future__ import annotations

import pytest

from .site import eventually

pytest.importorskip("django_q.django_tasks.api", reason="Django 5.2 needs django-tasks", exc_type=ImportError)

pytestmark = pytest.mark.parametrize("site", ["sqlite", "postgres", "mariadb", "redis"], indirect=True)

TASKS = """
TASKS = {"default": {"BACKEND": "django_q.backend.DjangoQBackend", "QUEUES": ["default", "mail"]}}
"""

MODULE = """
import os, signal, time
from django_q.backend import task

@task
def add(a, b):
    return a + b

@task(takes_context=True, ack_failure=False)
def second_attempt(context):
    if context.attempt < 2:
        raise ValueError("first")
    return [context.attempt, [each.exception_class_path for each in context.task_result.errors]]

@task(ack_failure=False)
def dies():
    os.kill(os.getpid(), signal.SIGKILL)

@task
async def slow(seconds):
    import asyncio
    await asyncio.sleep(seconds)
    return "slept"
"""

READ = """
from django_tasks_of_site import {task} as task
result = task.get_result({id!r})
answer = dict(
    status=str(result.status), attempts=result.attempts, errors=[e.exception_class_path for e in result.errors],
    value=result.return_value if str(result.status) == "SUCCESSFUL" else None, started=result.started_at is not None,
)
"""


@pytest.fixture
def site(request, make_site):
    """A site with a module of tasks, which tries each twice."""
    site = make_site(request.param, retry=4, max_attempts=2)
    (site.folder / "django_tasks_of_site.py").write_text(MODULE)
    with (site.folder / "site_settings.py").open("a") as settings:
        settings.write(TASKS)
    return site


def enqueue(site, task: str, *args: object, **using: object) -> str:
    return site.run(
        f"from django_tasks_of_site import {task} as task\nanswer = task.using(**{using!r}).enqueue(*{args!r}).id"
    )


def read(site, task: str, task_id: str) -> dict:
    return site.run(READ.format(task=task, id=task_id))


def finished(site, task: str, task_id: str, cluster) -> dict:
    def done():
        found = read(site, task, task_id)
        return found if found["status"] in ("SUCCESSFUL", "FAILED") else None

    return eventually(done, within=40, why=lambda: cluster.log)


def test_results_are_read_in_every_state(site) -> None:
    task_id = enqueue(site, "slow", 2)
    assert read(site, "slow", task_id)["status"] == "READY"
    with site.cluster() as cluster:
        eventually(lambda: read(site, "slow", task_id)["status"] == "RUNNING", within=20, why=lambda: cluster.log)
        found = finished(site, "slow", task_id, cluster)
        assert found == {"status": "SUCCESSFUL", "attempts": 1, "errors": [], "value": "slept", "started": True}
        assert cluster.stop() == 0


def test_each_attempt_has_its_error(site) -> None:
    with site.cluster() as cluster:
        retried, dead = enqueue(site, "second_attempt"), enqueue(site, "dies")
        found = finished(site, "second_attempt", retried, cluster)
        assert (found["status"], found["attempts"], found["value"]) == ("SUCCESSFUL", 2, [2, ["builtins.ValueError"]])
        assert found["errors"] == ["builtins.ValueError"]
        found = finished(site, "dies", dead, cluster)
        assert (found["status"], found["attempts"]) == ("FAILED", 2)
        assert found["errors"] == ["django_q.exceptions.WorkerDied"] * 2


def test_queues_share_a_cluster(site) -> None:
    with site.cluster("--queues", "default,mail") as cluster:
        ids = [enqueue(site, "add", 1, number, queue_name=queue) for number, queue in enumerate(("default", "mail"))]
        native = site.run("from django_q.tasks import async_task\nanswer = async_task('jobs.mark', 'native')[:]")
        values = [finished(site, "add", task_id, cluster)["value"] for task_id in ids]
        assert values == [1, 2]
        eventually(lambda: site.notes() == ["native"], why=lambda: cluster.log)
        assert native
