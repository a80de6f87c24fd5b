"""Records of tracked tasks beside real clusters."""

from __future__ import annotations

import socket

import pytest

from .site import eventually

pytestmark = pytest.mark.parametrize("site", ["sqlite", "postgres", "mariadb", "redis"], indirect=True)

ROW = "dict(status=str(found.status), attempts=found.attempts, result=found.return_value)"


@pytest.fixture
def site(request, make_site):
    """A site that tries a failed task twice."""
    return make_site(request.param, ack_failures=False, retry=4, max_attempts=2)


def send(site, call: str, **options: object) -> str:
    return site.run(
        f"from django_q.tasks import async_task\nanswer = str(async_task.options(track=True, **{options!r})({call}))"
    )


def record(site, task_id: str) -> dict:
    return site.run(f"from django_q.tasks import record\nfound = record({task_id!r})\nanswer = found and {ROW}") or {}


def status(site, task_id: str) -> str | None:
    return record(site, task_id).get("status")


def test_record_follows_a_task(site) -> None:
    task_id = send(site, "'jobs.slow', 'long', 6")
    assert record(site, task_id) == {"status": "queued", "attempts": [], "result": None}
    with site.cluster() as cluster:
        running = eventually(lambda: (found := record(site, task_id))["status"] == "running" and found, within=20)
        (attempt,) = running["attempts"]
        assert attempt["worker"]
        assert attempt["started_at"]
        assert attempt["finished_at"] is None
        site.run("import time; time.sleep(4.5)")  # its lease, which the cluster extends
        assert status(site, task_id) == "running"
        done = eventually(lambda: (found := record(site, task_id))["status"] == "succeeded" and found, within=20)
        assert done["result"] == "long"
        assert 6 <= done["attempts"][0]["duration"] < 30
        assert done["attempts"][0]["started_at"] == attempt["started_at"]
        assert cluster.stop() == 0


def test_each_attempt_is_kept(site) -> None:
    with site.cluster() as cluster:
        task_id = send(site, "'jobs.boom', 'x'")
        eventually(lambda: status(site, task_id) == "retrying", within=20, why=lambda: cluster.log)
        failed = eventually(lambda: (found := record(site, task_id))["status"] == "failed" and found, within=30)
        assert [each["number"] for each in failed["attempts"]] == [1, 2]
        for attempt in failed["attempts"]:
            assert attempt["exception_class"] == "builtins.ValueError"
            assert "boom x" in attempt["traceback"]
            assert attempt["started_at"] < attempt["finished_at"]


def test_death_of_a_worker_is_an_attempt(site) -> None:
    with site.cluster() as cluster:
        task_id = send(site, "'jobs.suicide', 'x', 'kill'")
        failed = eventually(
            lambda: (found := record(site, task_id))["status"] == "failed" and found, within=40, why=lambda: cluster.log
        )
        assert [each["exception_class"] for each in failed["attempts"]] == ["django_q.exceptions.WorkerDied"] * 2
        assert all("SIGKILL" in each["traceback"] and each["started_at"] for each in failed["attempts"])
        assert all(each["worker"].startswith(f"{socket.gethostname()}/") for each in failed["attempts"])


def test_dead_cluster_leaves_no_running_record(site) -> None:
    task_id = send(site, "'jobs.slow', 'long', 3")
    with site.cluster() as first:
        eventually(lambda: status(site, task_id) == "running", within=20, why=lambda: first.log)
        first.kill()
    with site.cluster() as second:
        done = eventually(
            lambda: (found := record(site, task_id))["status"] == "succeeded" and found,
            within=30,
            why=lambda: second.log,
        )
        lost, last = done["attempts"]
        assert (lost["number"], lost["exception_class"]) == (1, "django_q.exceptions.WorkerDied")
        assert (last["number"], last["exception_class"], done["result"]) == (2, None, "long")


def test_each_of_many_tasks_has_its_record(site) -> None:
    with site.cluster() as cluster:
        site.run(
            "from django_q.tasks import async_bulk\n"
            "async_bulk([('jobs.mark', (number,)) for number in range(300)], track=True, group='many')"
        )
        eventually(
            lambda: site.run("from django_q.tasks import records; answer = records(status='succeeded').count()") == 300,
            within=60,
            why=lambda: cluster.log,
        )
        code = (
            "from django_q.tasks import records\nanswer = [[r.args[0], r.return_value] for r in records(group='many')]"
        )
        assert sorted(site.run(code)) == [[number, number] for number in range(300)]


def test_record_follows_its_transaction(site) -> None:
    code = """
    from django.db import transaction
    from django_q.tasks import async_task, record
    import time
    try:
        with transaction.atomic():
            lost = async_task.options(track=True)("jobs.mark", "rolled back")
            raise KeyError
    except KeyError:
        pass
    with transaction.atomic():
        kept = async_task.options(track=True)("jobs.mark", "kept")
        time.sleep(2)
    answer = [str(kept), record(lost) is None]
    """
    with site.cluster() as cluster:
        kept, is_gone = site.run(code)
        assert is_gone
        eventually(lambda: status(site, kept) == "succeeded", within=20, why=lambda: cluster.log)
