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
