"""Cancellation of tasks that wait and that run."""

from __future__ import annotations

import pytest

from .saved import saved
from .site import eventually

pytestmark = pytest.mark.parametrize("site", ["sqlite", "postgres", "mariadb", "redis"], indirect=True)

JOBS = """

def caught(label, seconds):
    note(label, "begins")
    try:
        time.sleep(seconds)
    except BaseException as error:
        note(label, type(error).__name__)
        raise
    note(label, "ends")

def ignoring(label, seconds):
    from django_q.exceptions import TaskCancelled
    note(label, "begins")
    end = time.monotonic() + seconds
    while time.monotonic() < end:
        try:
            time.sleep(0.1)
        except TaskCancelled:
            note(label, "ignores")
    note(label, "ends")

async def awaiting(label, seconds):
    note(label, "begins")
    try:
        await asyncio.sleep(seconds)
    except asyncio.CancelledError:
        note(label, "CancelledError")
        raise
    note(label, "ends")

def told(task):
    note("hook", task.success, task.result)
"""


@pytest.fixture
def site(request, make_site):
    """A site that tries each task again, without end."""
    site = make_site(request.param, ack_failures=False, retry=5)
    with (site.folder / "jobs.py").open("a") as jobs:
        jobs.write(JOBS)
    return site


def send(site, call: str, **options: object) -> str:
    code = f"from django_q.tasks import async_task\nanswer = str(async_task.options(**{options!r})({call}))"
    return site.run(code)


def cancel(site, task_id: str) -> bool:
    return site.run(f"from django_q.tasks import cancel\nanswer = cancel({task_id!r})")


def status(site, task_id: str) -> str | None:
    code = f"from django_q.tasks import status\nfound = status({task_id!r})\nanswer = found and str(found)"
    return site.run(code)


def test_waiting_task_is_not_executed(site) -> None:
    tracked = send(site, "'jobs.mark', 'cancelled'", track=True, hook="jobs.told")
    untracked = send(site, "'jobs.mark', 'cancelled'", track=False, hook="jobs.told")
    send(site, "'jobs.mark', 'last'")
    assert cancel(site, tracked)
    assert cancel(site, untracked)
    assert status(site, tracked) == "cancelled"
    with site.cluster() as cluster:
        eventually(lambda: len(site.notes()) == 3, within=20, why=lambda: (site.notes(), cluster.log))
        assert sorted(site.notes()) == ["hook False The task was cancelled."] * 2 + ["last"]
        eventually(lambda: saved(site, tracked) and saved(site, untracked))
        assert [status(site, tracked), status(site, untracked)] == ["cancelled", "failed"]
        queue_size = "from django_q.tasks import queue_size; answer = queue_size()"
        eventually(lambda: site.run(queue_size) == 0)
        assert not cancel(site, tracked)
        assert not cancel(site, untracked)
        assert cluster.stop() == 0


INTERRUPTIONS = {"caught": "TaskCancelled", "awaiting": "CancelledError", "ignoring": "ignores"}
"""Notes of functions that are interrupted, by the names of the functions."""


def test_running_task_is_interrupted(site) -> None:
    with site.cluster("--workers", str(len(INTERRUPTIONS))) as cluster:
        ids = [send(site, f"'jobs.{func}', {func!r}, 60", track=True, hook="jobs.told") for func in INTERRUPTIONS]
        begun = {f"{func} begins" for func in INTERRUPTIONS}
        eventually(lambda: {*site.notes()} == begun, within=20, why=lambda: cluster.log)
        eventually(lambda: {status(site, each) for each in ids} == {"running"})
        for each in ids:
            assert cancel(site, each)
        interrupted = {f"{func} {noted}" for func, noted in INTERRUPTIONS.items()}
        eventually(lambda: interrupted <= {*site.notes()}, within=10, why=lambda: (site.notes(), cluster.log))
        eventually(lambda: {status(site, each) for each in ids} == {"cancelled"}, within=15, why=lambda: cluster.log)
        eventually(lambda: "".join(site.notes()).count("hook False") == len(ids), why=lambda: cluster.log)
        for each in ids:
            (attempt,) = site.run(f"from django_q.tasks import record\nanswer = record({each!r}).attempts")
            assert attempt["finished_at"]
        site.run("import time; time.sleep(6)")  # longer than `retry`
        assert sum("begins" in note for note in site.notes()) == len(ids)
        assert not any("ends" in note for note in site.notes())
        task = send(site, "'jobs.mark', 'later'")
        eventually(lambda: status(site, task) == "succeeded", within=20, why=lambda: cluster.log)


def test_other_tasks_run_on(site) -> None:
    with site.cluster() as cluster:
        kept = send(site, "'jobs.caught', 'kept', 6")
        cancelled = send(site, "'jobs.caught', 'cancelled', 60")
        eventually(lambda: len(site.notes()) == 2, within=20, why=lambda: cluster.log)
        cancel(site, cancelled)
        eventually(lambda: status(site, kept) == "succeeded", within=20, why=lambda: (site.notes(), cluster.log))
        assert "cancelled TaskCancelled" in site.notes()
        assert "kept ends" in site.notes()


def test_group_is_cancelled(site) -> None:
    code = """
    from django_q.tasks import async_bulk, cancel_group
    async_bulk([("jobs.mark", (n,)) for n in range(5)], group="g", track=True)
    async_bulk([("jobs.mark", (n,)) for n in range(5)], group="g", delay=1, track=True)
    count = cancel_group("g")
    async_bulk([("jobs.mark", ("later",))], group="g")
    answer = count
    """
    assert site.run(code) == 10
    with site.cluster() as cluster:
        eventually(lambda: site.notes(), within=20, why=lambda: cluster.log)
        site.run("import time; time.sleep(2)")
        assert site.notes() == ["later"]


def test_rest_of_a_chain_is_cancelled(site) -> None:
    with site.cluster() as cluster:
        chain = site.run(
            "from django_q.tasks import async_chain\n"
            "answer = async_chain([('jobs.caught', ('a', 60)), ('jobs.mark', ('b',))])"
        )
        eventually(lambda: site.notes() == ["a begins"], within=20, why=lambda: cluster.log)
        site.run(f"from django_q.tasks import cancel_group\nanswer = cancel_group({chain!r})")
        eventually(lambda: "a TaskCancelled" in site.notes(), within=10, why=lambda: cluster.log)
        site.run("import time; time.sleep(2)")
        assert site.notes() == ["a begins", "a TaskCancelled"]


def test_rest_of_an_iter_is_cancelled(site) -> None:
    code = """
    from django_q.tasks import async_iter, cancel
    answer = async_iter.options(callback="jobs.told")("jobs.mark", [1, 2, 3])
    cancel(answer)
    """
    iter_id = site.run(code)
    with site.cluster() as cluster:
        eventually(lambda: saved(site, iter_id), within=20, why=lambda: cluster.log)
        eventually(lambda: [note for note in site.notes() if note.startswith("hook")], why=lambda: cluster.log)
        assert not {"1", "2", "3"} & {*site.notes()}


def test_each_cluster_interrupts_its_tasks(site) -> None:
    with site.cluster() as first, site.cluster() as second:
        code = """
        from django_q.tasks import async_task
        for number in range(12):
            async_task("jobs.caught", number, 60, group="all")
        """
        site.run(code)
        eventually(
            lambda: all(each.log.count("processing") == 2 for each in (first, second)),
            within=20,
            why=lambda: (first.log, second.log),
        )
        eventually(lambda: len(site.notes()) == 4)
        site.run("from django_q.tasks import cancel_group\ncancel_group('all')")
        eventually(lambda: len(site.notes()) == 8, within=10, why=lambda: (site.notes(), first.log, second.log))
        code = "from django_q.models import Task\nanswer = Task.objects.filter(success=False).count()"
        eventually(lambda: site.run(code) == 12, within=20, why=lambda: (first.log, second.log))
        assert len(site.notes()) == 8
