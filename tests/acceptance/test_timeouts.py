"""A task that runs too long becomes a failure: by an exception inside it, or by the end of its worker."""

from __future__ import annotations

import pytest

from .site import eventually

both = pytest.mark.parametrize("site", ["sqlite", "redis"], indirect=True)


def fetch(site, call: str) -> list:
    return site.run(
        f"""
        from django_q.tasks import async_task, fetch
        task = fetch({call}, 20000)
        answer = [task.success, str(task.result), task.attempt_count]
        """
    )


@both
def test_exception_is_raised_inside_the_task_and_finally_runs(site):
    with site.cluster() as cluster:
        success, result, attempts = fetch(site, "async_task('jobs.tidy', 'x', 30, timeout=0.5, ack_failure=True)")
        assert not success, cluster.log
        assert "Task exceeded maximum timeout value (0.5 seconds)" in result
        assert "in tidy" in result  # where it was
        assert attempts == 1
        assert site.notes() == ["x finally"]
        assert "reincarnated" not in cluster.log


@both
def test_task_that_swallows_exceptions_is_killed(site):
    with site.cluster() as cluster:
        call = "async_task('jobs.stubborn', 'x', 30, timeout=0.5, ack_failure=True, hook='jobs.hook', task_name='s')"
        success, result, attempts = fetch(site, call)
        assert not success
        assert "timeout" in result
        assert attempts == 1
        eventually(lambda: "hook s False failure" in site.notes(), why=lambda: cluster.log)


@both
def test_timeout_none_means_none(site):
    with site.cluster():
        success, _, _ = fetch(site, "async_task('jobs.slow', 'x', 1.0, timeout=None)")
        assert success


@pytest.mark.parametrize("call", ["'jobs.c_code'", "'jobs.own_alarm_without_end', 'x'"])
@both
def test_task_that_no_exception_reaches_is_killed(site, call):
    with site.cluster() as cluster:
        success, result, attempts = fetch(site, f"async_task({call}, timeout=0.5, ack_failure=True)")
        assert not success, cluster.log
        assert "timeout" in result
        assert attempts == 1


def test_task_that_took_the_alarm_takes_it_from_nobody_else(make_site):
    site = make_site("sqlite", workers=1)
    with site.cluster():
        success, _, _ = fetch(site, "async_task('jobs.own_alarm', 'x', timeout=5)")
        assert success
        success, result, _ = fetch(site, "async_task('jobs.tidy', 'y', 30, timeout=0.5, ack_failure=True)")
        assert not success
        assert "in tidy" in result
