"""Error reporters are told of every way in which a task can fail."""

from __future__ import annotations

import pytest

from .site import eventually


@pytest.fixture
def site(make_site):
    """A site with a reporter that another distribution offers."""
    site = make_site("sqlite", error_reporter={"noter": {}})
    distribution = site.folder / "noter-1.0.dist-info"
    distribution.mkdir()
    (distribution / "METADATA").write_text("Metadata-Version: 2.1\nName: noter\nVersion: 1.0\n")
    (distribution / "entry_points.txt").write_text("[djangoq.errorreporters]\nnoter = jobs:Noter\n")
    return site


@pytest.mark.parametrize(
    ("call", "error"),
    [
        ("'jobs.boom', 1", "ValueError"),
        ("'jobs.tidy', 'x', 30, timeout=0.5", "TimeoutException"),
        ("'jobs.suicide', 'x', 'kill'", "WorkerDied"),
        ("'jobs.suicide', 'x', 'sysexit'", "SystemExit"),
        ("'jobs.unpicklable'", "ResultNotPicklable"),
        ("'jobs.no_such_function'", "UnknownFunction"),
    ],
)
def test_reporter_is_told_of_a_failure(site, call, error):
    with site.cluster() as cluster:
        site.run(f"from django_q.tasks import async_task; async_task({call}, task_name='bad', ack_failure=True)")
        eventually(lambda: f"reported bad {error}" in site.notes(), within=20, why=lambda: (site.notes(), cluster.log))


def test_reporter_is_told_of_a_failing_hook(site):
    with site.cluster() as cluster:
        site.run("from django_q.tasks import async_task; async_task('jobs.mark', 1, hook='jobs.boom', task_name='t')")
        eventually(lambda: [n for n in site.notes() if n.startswith("reported")], why=lambda: cluster.log)


def test_reporter_is_told_of_a_broken_schedule(site):
    with site.cluster() as cluster:
        site.run(
            "from django_q.models import Schedule; Schedule.objects.create(name='bad', func='jobs.mark', args='?')"
        )
        told = "reported - ScheduleError Schedule [bad] cannot be sent: UnreadableArguments"
        eventually(lambda: any(note.startswith(told) for note in site.notes()), why=lambda: (site.notes(), cluster.log))


def test_reporter_is_told_of_a_result_that_is_not_saved(site):
    refuse = """
    from django.db import connection
    connection.cursor().execute(
        "CREATE TRIGGER refuse BEFORE INSERT ON django_q_task WHEN NEW.success "
        "BEGIN SELECT RAISE(ABORT, 'no successes here'); END"
    )
    from django_q.tasks import async_task
    async_task('jobs.mark', 'ran', task_name='good')
    """
    with site.cluster() as cluster:
        site.run(refuse)
        eventually(lambda: "reported good ResultNotSaved" in site.notes(), why=lambda: cluster.log)
        assert "ran" in site.notes()


def test_reporter_that_hangs_stops_no_schedule(site):
    site.run("from django_q.models import Schedule; Schedule.objects.create(name='bad', func='jobs.mark', args='?')")
    with site.cluster(REPORTER_SECONDS="600") as cluster:
        eventually(lambda: "error reporters did not return within" in cluster.log, within=20, why=lambda: cluster.log)
        site.run(
            "from django_q.models import Schedule; Schedule.objects.create(name='good', func='jobs.mark', args='1,')"
        )
        eventually(lambda: "1" in site.notes(), why=lambda: cluster.log)
        assert "made no progress" not in cluster.log
