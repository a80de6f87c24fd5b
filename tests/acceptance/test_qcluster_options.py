"""Options of `manage.py qcluster`, on a real cluster."""

from __future__ import annotations

import json

import pytest

from .site import eventually


def log_records(text: str) -> list[dict]:
    """Return the records of a log, without the lines of Django's system checks before it."""
    lines = text.splitlines()
    first = next(index for index, line in enumerate(lines) if line.startswith("{"))
    return [json.loads(line) for line in lines[first:]]


@pytest.mark.parametrize("start_method", ["fork", "spawn"])
def test_workers_and_json_log_apply_to_all_processes(make_site, start_method):
    site = make_site("sqlite", start_method=start_method)
    with site.cluster("--workers", "3", "--log-json") as cluster:
        eventually(lambda: len(cluster.pids("ready for work")) == 3, why=lambda: cluster.log)
        site.run("from django_q.tasks import async_task, result; result(async_task('jobs.mark', 'one'), 20000)")
        eventually(lambda: "task.processed" in cluster.log, why=lambda: cluster.log)
        assert cluster.stop() == 0
    records = log_records(cluster.log)
    assert len({record["pid"] for record in records}) >= 6
    assert all(record["logger"].startswith("django-q") for record in records)


def test_json_log_replaces_the_logging_of_the_project(make_site):
    site = make_site("sqlite")
    with (site.folder / "site_settings.py").open("a") as settings:
        settings.write(
            """
LOGGING = {
    "version": 1,
    "handlers": {"console": {"class": "logging.StreamHandler"}},
    "loggers": {"django-q": {"handlers": ["console"], "level": "INFO"}},
}
"""
        )
    done = site.manage("qcluster", "--run-once", "--log-json")
    messages = [record["message"] for record in log_records(done.stderr)]
    assert sum("has stopped." in message for message in messages) == 1
    assert done.stderr.count("has stopped.") == 1


def test_wrong_number_of_workers_is_one_line(make_site):
    done = make_site("sqlite").manage("qcluster", "--workers", "0", check=False)
    assert (done.returncode, done.stderr.splitlines()[-1]) == (1, "CommandError: --workers must be 1 or more.")


def test_burst_of_an_empty_queue_ends_at_once(site):
    assert site.manage("qcluster", "--burst").returncode == 0


def test_burst_executes_everything_that_is_due(site):
    site.run(
        """
        from datetime import timedelta
        from django.utils import timezone
        from django_q.tasks import async_chain, async_task, schedule
        for number in range(50):
            async_task('jobs.mark', 'task')
        async_task('jobs.slow', 'long', 2, hook='jobs.hook', task_name='hooked')
        async_chain([('jobs.mark', ('link',))] * 5)
        async_task('jobs.boom', 'failure', q_options={'ack_failure': True})
        async_task('jobs.mark', 'delayed', q_options={'delay': 600})
        schedule('jobs.mark', 'scheduled', schedule_type='O', next_run=timezone.now() - timedelta(seconds=1))
        schedule('jobs.mark', 'later', schedule_type='O', next_run=timezone.now() + timedelta(seconds=600))
        """
    )
    done = site.manage("qcluster", "--burst")
    assert "has stopped." in done.stderr
    notes = site.notes()
    counts = {label: notes.count(label) for label in ("task", "link", "failure", "scheduled", "delayed", "later")}
    assert counts == {"task": 50, "link": 5, "failure": 1, "scheduled": 1, "delayed": 0, "later": 0}
    assert "long ends" in notes
    assert "hook hooked True long" in notes
    saved = "from django_q.models import Task; answer = Task.objects.count()"
    assert site.run(saved) == 58
