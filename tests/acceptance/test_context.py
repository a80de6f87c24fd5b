"""Attributes of the current task, on a real cluster."""

from __future__ import annotations

import pytest

from .site import eventually

JOBS = """
def which_attempt(key, until):
    from django_q.context import current_task
    attempt = current_task().attempt
    note(key, current_task().id, attempt)
    if attempt < until:
        raise ValueError("not yet")
    return attempt

async def which_attempt_awaited(key, until):
    return which_attempt(key, until)
"""


LOGGING = """
LOGGING = {
    "version": 1,
    "disable_existing_loggers": False,
    "filters": {"task": {"()": "django_q.context.TaskFilter"}},
    "formatters": {"task": {"format": "%(message)s of [%(task_id)s] [%(task_name)s]"}},
    "handlers": {"own": {"class": "logging.StreamHandler", "formatter": "task", "filters": ["task"]}},
    "loggers": {"shop": {"handlers": ["own"], "level": "INFO"}},
}
"""

SAYS = """
def says(text):
    import logging
    logging.getLogger("shop").info(text)

async def says_awaited(text):
    says(text)
"""


def test_log_records_of_a_task_carry_its_id_on_a_real_cluster(make_site):
    site = make_site("sqlite")
    with (site.folder / "site_settings.py").open("a") as settings:
        settings.write(LOGGING)
    with (site.folder / "jobs.py").open("a") as jobs:
        jobs.write(SAYS)
    with site.cluster() as cluster:
        one, two, three = site.run(
            """
            from django_q.tasks import async_task, result
            answer = [
                async_task("jobs.says", "first", task_name="one"),
                async_task("jobs.says_awaited", "second", task_name="two"),
                async_task("jobs.says_awaited", "third", task_name="three"),
            ]
            """
        )
        lines = [f"first of [{one}] [one]", f"second of [{two}] [two]", f"third of [{three}] [three]"]
        eventually(lambda: all(line in cluster.log for line in lines), why=lambda: cluster.log)


@pytest.mark.parametrize("kind", ["sqlite", "redis"])
def test_task_knows_its_attempt(make_site, kind):
    site = make_site(kind, retry=1, ack_failures=False)
    with (site.folder / "jobs.py").open("a") as jobs:
        jobs.write(JOBS)
    with site.cluster() as cluster:
        ids = site.run(
            """
            from django_q.tasks import async_task
            answer = {
                "plain": async_task("jobs.which_attempt", "plain", 3),
                "awaited": async_task("jobs.which_attempt_awaited", "awaited", 3),
                "cached": async_task("jobs.which_attempt", "cached", 3, cached=60),
                "unsaved": async_task("jobs.which_attempt", "unsaved", 3, save=False),
            }
            """
        )
        eventually(lambda: sum(line.endswith(" 3") for line in site.notes()) == 4, within=30, why=lambda: cluster.log)
    for key, task_id in ids.items():
        attempts = [line for line in site.notes() if line.startswith(f"{key} ")]
        assert attempts == [f"{key} {task_id} {number}" for number in (1, 2, 3)]
