"""Statistics of a real cluster: when they appear, and when they disappear."""

from __future__ import annotations

import time

from .site import TIME_FACTOR, eventually

STATES = "from django_q.monitor import Stat; answer = [str(stat.status) for stat in Stat.get_all()]"

APPEARS_SECONDS = 1
DISAPPEARS_SECONDS = 5
SNIPPET_SECONDS = 1
"""Time that one reading of the statistics may take, in a process of its own."""


def test_cluster_appears_within_a_second_of_its_start(site):
    with site.cluster() as cluster:
        eventually(lambda: site.run(STATES), within=APPEARS_SECONDS, why=lambda: cluster.log)


def test_killed_cluster_disappears_within_five_seconds(site):
    with site.cluster() as cluster:
        eventually(lambda: site.run(STATES), why=lambda: cluster.log)
        cluster.kill()
        cluster.process.wait(10)
        killed = time.monotonic()
        eventually(lambda: not site.run(STATES), within=DISAPPEARS_SECONDS + SNIPPET_SECONDS)
        assert time.monotonic() - killed < DISAPPEARS_SECONDS + SNIPPET_SECONDS * TIME_FACTOR


def test_running_task_is_published_until_it_ends(site):
    with site.cluster() as cluster:
        code = "from django_q.tasks import async_task; answer = str(async_task('jobs.slow', 'x', 6, task_name='long'))"
        task_id = site.run(code)
        tasks = "from django_q.monitor import Stat; answer = [task for stat in Stat.get_all() for task in stat.tasks]"
        [task] = eventually(lambda: site.run(tasks), within=10, why=lambda: cluster.log)
        assert (task["id"], task["name"], task["func"], task["track"]) == (task_id, "long", "jobs.slow", False)
        assert site.notes() == [f"x begins {task['worker']}"]
        eventually(lambda: not site.run(tasks), within=10, why=lambda: cluster.log)
        assert site.notes()[1:] == ["x ends"]
