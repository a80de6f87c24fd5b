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
