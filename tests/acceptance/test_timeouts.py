"""A task that runs too long becomes a failure: by an exception inside it, or by the end of its worker."""

from __future__ import annotations

import pytest

from .saved import assert_failed, assert_succeeded, finished
from .site import eventually

both = pytest.mark.parametrize("site", ["sqlite", "redis"], indirect=True)


@both
def test_exception_is_raised_inside_the_task_and_finally_runs(site):
    with site.cluster() as cluster:
        task = finished(site, "async_task('jobs.tidy', 'x', 30, timeout=0.5, ack_failure=True)")
        assert_failed(task, error="Task exceeded maximum timeout value (0.5 seconds)", attempt=1)
        assert_failed(task, error="in tidy")  # where it was
        assert site.notes() == ["x finally"]
        assert "reincarnated" not in cluster.log


@both
def test_task_that_swallows_exceptions_is_killed(site):
    with site.cluster() as cluster:
        call = "async_task('jobs.stubborn', 'x', 30, timeout=0.5, ack_failure=True, hook='jobs.hook', task_name='s')"
        assert_failed(finished(site, call), error="timeout", attempt=1)
        eventually(lambda: "hook s False failure" in site.notes(), why=lambda: cluster.log)


@both
def test_timeout_none_means_none(site):
    with site.cluster():
        assert_succeeded(finished(site, "async_task('jobs.slow', 'x', 1.0, timeout=None)"))


@pytest.mark.parametrize("call", ["'jobs.c_code'", "'jobs.own_alarm_without_end', 'x'"])
@both
def test_task_that_no_exception_reaches_is_killed(site, call):
    with site.cluster():
        assert_failed(finished(site, f"async_task({call}, timeout=0.5, ack_failure=True)"), error="timeout", attempt=1)


def test_timeout_works_after_a_task_with_its_own_alarm(make_site):
    site = make_site("sqlite", workers=1)
    with site.cluster():
        assert_succeeded(finished(site, "async_task('jobs.own_alarm', 'x', timeout=5)"))
        task = finished(site, "async_task('jobs.tidy', 'y', 30, timeout=0.5, ack_failure=True)")
        assert_failed(task, error="in tidy")
