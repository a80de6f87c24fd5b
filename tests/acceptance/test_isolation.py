"""One bad task, and a slow server, affect no other task."""

from __future__ import annotations

import sqlite3
import time
from collections import Counter
from contextlib import closing

import pytest

from .site import eventually

POISON = """
import os, sys, time

class Argument:
    def __init__(self, how):
        self.how = how

    def __setstate__(self, state):
        if os.environ.get("IN_CLUSTER"):
            {"exit": sys.exit, "kill": lambda: os._exit(3), "hang": lambda: time.sleep(3600)}[state["how"]]()
        self.__dict__.update(state)
"""

JOBS = """
def damages(label):
    import signal
    from django.utils import timezone, translation
    os.environ["DAMAGED"] = "yes"
    os.chdir("/")
    os.umask(0)
    signal.signal(signal.SIGTERM, signal.SIG_IGN)
    translation.activate("de")
    timezone.activate("Asia/Tokyo")
    note(label)

def looks(label):
    import signal
    from django.utils import timezone, translation
    note(label)
    zone = timezone.get_current_timezone_name()
    ignored = signal.getsignal(signal.SIGTERM) is signal.SIG_IGN
    return [os.environ.get("DAMAGED"), os.getcwd(), translation.get_language(), zone, ignored]

def closes_files(label):
    note(label)
    os.closerange(3, 1000)

def left():
    import asyncio, faulthandler, io, signal, sys
    from unittest import mock
    import freezegun
    return {
        "detached stream": lambda: setattr(sys, "stdout", io.TextIOWrapper(sys.stdout.detach())),
        "dump of tracebacks": lambda: faulthandler.dump_traceback_later(0.3, exit=True),
        "frozen time": freezegun.freeze_time("2020-01-01").start,
        "mark of a loop": lambda: asyncio._set_running_loop(asyncio.new_event_loop()),
        "profiler": lambda: sys.setprofile(mock.MagicMock(__eq__=mock.Mock(side_effect=ValueError))),
        "pickle": mock.patch("pickle.dumps", side_effect=ValueError).start,
        "present": mock.patch("django.utils.timezone.now").start,
        "timer": lambda: signal.setitimer(signal.ITIMER_PROF, 0.05),
    }

def leaves(name):
    note(name)
    left()[name]()

def works():
    import time
    from django.contrib.auth.models import User
    end = time.process_time() + 0.1
    while time.process_time() < end:
        pass
    time.sleep(0.4)
    return User.objects.count()
"""

LEFT = (
    "detached stream", "dump of tracebacks", "frozen time", "mark of a loop", "profiler", "pickle", "present", "timer",
)  # fmt: skip


def test_argument_that_ends_its_process_affects_no_other_task(make_site):
    site = make_site("sqlite", max_attempts=2, retry=3, timeout=1)
    (site.folder / "poison.py").write_text(POISON)
    with site.cluster(IN_CLUSTER="1") as cluster:
        sent = site.run(
            """
            from poison import Argument
            from django_q.tasks import async_task
            answer = [async_task("jobs.mark", Argument(how), task_name=how) for how in ("exit", "kill", "hang")]
            for number in range(10):
                async_task("jobs.mark", number)
            """
        )
        eventually(lambda: len(site.notes()) == 10, within=60, why=lambda: cluster.log)
        rows = f"""
            from django_q.models import Failure
            found = Failure.objects.filter(pk__in={sent!r}).order_by("name")
            answer = [[each.name, each.func, each.attempt_count] for each in found]
            """
        expected = [[how, "jobs.mark", 2] for how in ("exit", "hang", "kill")]
        eventually(lambda: site.run(rows) == expected, within=60, why=lambda: (site.run(rows), cluster.log))
        assert cluster.stop() == 0
    assert Counter(site.notes()) == Counter(map(str, range(10)))
    for role in ("monitor", "pusher", "scheduler"):
        assert f"reincarnated {role}" not in cluster.log


def test_slow_database_causes_no_second_run(make_site):
    """The monitor is blocked for three leases; nothing fails, and nothing is redelivered."""
    site = make_site("redis", retry=2)
    with (site.folder / "site_settings.py").open("a") as settings:
        settings.write("\nDATABASES['default']['OPTIONS'] = {'timeout': 60}\n")
    database = site.folder / "db.sqlite3"
    with site.cluster() as cluster:
        with closing(sqlite3.connect(database, isolation_level=None)) as lock:
            lock.execute("BEGIN EXCLUSIVE")
            site.run("from django_q.tasks import async_task\nfor n in range(20): async_task('jobs.mark', n)")
            eventually(lambda: len(site.notes()) == 20, within=30, why=lambda: cluster.log)
            time.sleep(6.5)  # what blocks it
            lock.execute("ROLLBACK")
        count = "from django_q.models import Success; answer = Success.objects.count()"
        eventually(lambda: site.run(count) == 20, within=30, why=lambda: cluster.log)
    assert Counter(site.notes()) == Counter(map(str, range(20)))


@pytest.mark.parametrize("start_method", ["fork", "spawn"])
def test_task_cannot_damage_the_next_one(make_site, start_method):
    site = make_site("sqlite", workers=1, start_method=start_method)
    with (site.folder / "jobs.py").open("a") as jobs:
        jobs.write(JOBS)
    with site.cluster() as cluster:
        first, second = site.run(
            """
            from django_q.tasks import async_task, result
            for label in ("before", "damages", "after"):
                last = async_task("jobs.damages" if label == "damages" else "jobs.looks", label)
                if label == "before":
                    before = result(last, wait=30_000)
            answer = [before, result(last, wait=30_000)]
            """
        )
        assert first == second, cluster.log
        assert first[0] is None


def test_task_that_closes_all_files_affects_no_other_task(make_site):
    site = make_site("sqlite", workers=1, max_attempts=1, retry=3)
    with (site.folder / "jobs.py").open("a") as jobs:
        jobs.write(JOBS)
    with site.cluster() as cluster:
        success = site.run(
            """
            from django_q.tasks import async_task, fetch
            closed, after = async_task("jobs.closes_files", "closed"), async_task("jobs.mark", "after")
            answer = [bool(fetch(each, wait=30_000).success) for each in (closed, after)]
            """
        )
        assert success == [False, True], cluster.log


def test_what_a_task_leaves_behind_affects_neither_its_result_nor_the_next_task(make_site):
    site = make_site("sqlite", workers=1, max_attempts=2, retry=3, ack_failures=False)
    with (site.folder / "jobs.py").open("a") as jobs:
        jobs.write(JOBS)
    with site.cluster() as cluster:
        outcomes = site.run(
            f"""
            from django_q.tasks import async_task, fetch
            sent = [(name, async_task("jobs.leaves", name), async_task("jobs.works")) for name in {LEFT!r}]
            found = [(name, fetch(task, wait=60_000), fetch(after, wait=60_000)) for name, task, after in sent]
            answer = {{name: [task and task.success, after and after.result] for name, task, after in found}}
            """
        )
        assert outcomes == {name: [True, 0] for name in LEFT}, cluster.log
        assert cluster.stop() == 0, cluster.log
    assert Counter(site.notes()) == Counter(LEFT)
