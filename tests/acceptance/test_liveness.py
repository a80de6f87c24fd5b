"""Every wait ends: of a process that hangs, of a system that refuses to fork, of a stop, of what a task left behind."""

from __future__ import annotations

import os
import signal
import sqlite3
import subprocess
import sys
import time
from contextlib import closing, suppress

import psutil
import pytest

from .site import RunningCluster, eventually, kill_all, lives

JOBS = '''
import subprocess, threading, multiprocessing

def starts(label, seconds=0.0, stubborn_=False):
    """Start a program that starts another one, and note both."""
    child = [sys.executable, "-c", "import time; time.sleep(600)"]
    family = f"import os, subprocess; p = subprocess.Popen({child!r}); print(os.getpid(), p.pid, flush=True); p.wait()"
    program = subprocess.Popen([sys.executable, "-c", family], stdout=subprocess.PIPE, text=True)
    note(label, program.stdout.readline().strip())
    end = time.monotonic() + seconds
    while time.monotonic() < end:
        try:
            time.sleep(end - time.monotonic())
        except BaseException:
            if not stubborn_:
                raise

def starts_and_dies(label):
    starts(label)
    os.kill(os.getpid(), signal.SIGKILL)

def leaves_a_thread(label):
    threading.Thread(target=time.sleep, args=(600,)).start()
    note(label)

def leaves_a_process(label):
    child = multiprocessing.get_context("fork").Process(target=time.sleep, args=(600,))
    child.start()
    note(label, child.pid)
'''

REFUSED_FORKS = """
import errno, multiprocessing.popen_fork
_launch, _count = multiprocessing.popen_fork.Popen._launch, [0]
def launch(self, process):
    if ":" in process.name:  # not the sentinel
        _count[0] += 1
        if _count[0] in {numbers}:
            raise BlockingIOError(errno.EAGAIN, "Resource temporarily unavailable")
    return _launch(self, process)
multiprocessing.popen_fork.Popen._launch = launch
"""

BROKEN_SENTINEL = """
import os, pathlib
from django_q.cluster.sentinel import Sentinel
_watch = Sentinel._watch_deadlines
def watch(self):
    if pathlib.Path(os.environ["NOTES"] + "-break").exists():
        raise SystemExit("a bug")
    _watch(self)
Sentinel._watch_deadlines = watch
"""

BROKEN_APP = """
import sys
from django_q.signals import post_spawn
def receiver(**kwargs):
    import jobs
    jobs.note("spawned")
    if jobs.os.path.exists(jobs.os.environ["NOTES"] + "-break"):
        sys.exit(0)
post_spawn.connect(receiver, weak=False)
"""

ROLES = {"worker": "ready for work", "pusher": "pushing tasks", "monitor": "monitoring", "scheduler": "scheduling"}


@pytest.fixture
def made(make_site):
    """Make a site on SQLite with more tasks."""

    def make(settings: str = "", **q_cluster):
        site = make_site("sqlite", **q_cluster)
        with (site.folder / "jobs.py").open("a") as jobs:
            jobs.write(JOBS)
        with (site.folder / "site_settings.py").open("a") as file:
            file.write(settings)
        return site

    return make


def send(site, *calls: str) -> None:
    site.run("from django_q.tasks import async_task\n" + "\n".join(f"async_task({call})" for call in calls))


def ended(cluster, within: float) -> int:
    """The exit status of a cluster that ends by itself."""
    eventually(lambda: cluster.process.poll() is not None, within=within, why=lambda: cluster.log)
    return cluster.process.wait()


# forks and errors of the sentinel


@pytest.mark.parametrize("numbers", [[6, 7], [1, 2, 4]], ids=["of a successor", "at the start"])
def test_fork_that_fails_is_repeated(made, numbers):
    site = made(REFUSED_FORKS.format(numbers=numbers), start_method="fork")
    with site.cluster() as cluster:
        send(site, "'jobs.suicide', 'first', 'kill', ack_failure=True", "'jobs.mark', 'second'")
        eventually(lambda: {"first", "second"} <= set(site.notes()), within=20, why=lambda: cluster.log)
        eventually(lambda: cluster.log.count("cannot start a") == len(numbers), within=20, why=lambda: cluster.log)
        eventually(lambda: len(cluster.pids(ROLES["worker"])) == 2, within=20, why=lambda: cluster.log)
        assert cluster.stop() == 0


def test_error_of_the_sentinel_ends_the_cluster_with_a_traceback(made):
    site = made(BROKEN_SENTINEL)
    with site.cluster() as cluster:
        family = cluster.family()
        (site.folder / "notes-break").touch()
        assert ended(cluster, within=5) == 1
        eventually(lambda: not any(lives(process) for process in family))
        assert "crashed: SystemExit: a bug" in cluster.log
        assert "Traceback" in cluster.log
        assert "in watch" in cluster.log


def test_code_that_exits_while_a_worker_starts_stops_no_cluster(made):
    site = made(BROKEN_APP, workers=1)
    with site.cluster() as cluster:
        eventually(lambda: site.notes(), why=lambda: cluster.log)
        (site.folder / "notes-break").touch()
        (worker,) = cluster.pids(ROLES["worker"])
        os.kill(worker, signal.SIGKILL)
        eventually(lambda: "crashed: SystemExit: 0" in cluster.log, why=lambda: cluster.log)
        assert "in receiver" in cluster.log
        (site.folder / "notes-break").unlink()
        send(site, "'jobs.mark', 'after'")
        eventually(lambda: "after" in site.notes(), within=20, why=lambda: cluster.log)


# heartbeats


@pytest.mark.parametrize("role", ROLES)
def test_process_that_hangs_is_replaced(made, role):
    site = made(guard_timeout=4, workers=1)
    with site.cluster() as cluster:
        (victim,) = eventually(lambda: cluster.pids(ROLES[role]), why=lambda: cluster.log)
        cluster.freeze(victim)
        (successor,) = eventually(
            lambda: [pid for pid in cluster.pids(ROLES[role]) if pid != victim], within=10, why=lambda: cluster.log
        )
        assert successor != victim
        assert f"the {role} made no progress for" in cluster.log
        send(site, "'jobs.mark', 'after'")
        eventually(lambda: "after" in site.notes(), within=10, why=lambda: cluster.log)


def test_cluster_that_was_frozen_as_a_whole_keeps_its_processes(made):
    site = made(guard_timeout=4)
    with site.cluster() as cluster:
        eventually(lambda: all(cluster.pids(role) for role in ROLES.values()), why=lambda: cluster.log)
        before = {process.pid for process in cluster.family()}
        frozen = cluster.freeze()
        time.sleep(8)  # longer than the guard's timeout: it is this time that is tested
        for process in reversed(frozen):
            process.resume()
        send(site, "'jobs.slow', 'after', 6")
        eventually(lambda: "after ends" in site.notes(), within=20, why=lambda: cluster.log)
        assert {process.pid for process in cluster.family()} == before, cluster.log
        assert "no progress" not in cluster.log


def test_task_longer_than_the_guards_timeout_is_no_hanging_one(made):
    site = made(guard_timeout=3, workers=1)
    with site.cluster() as cluster:
        send(site, "'jobs.slow', 'long', 8")
        eventually(lambda: "long ends" in site.notes(), within=20, why=lambda: cluster.log)
        assert "no progress" not in cluster.log


def test_monitor_that_waits_for_a_locked_database_is_replaced(made):
    site = made("DATABASES['default']['OPTIONS'] = {'timeout': 60}\n", guard_timeout=4, scheduler=False)
    queue = site.folder / "queue.sqlite3"
    with (site.folder / "site_settings.py").open("a") as file:
        file.write(f"DATABASES['queue'] = dict(DATABASES['default'], NAME={str(queue)!r})\n")
        file.write("Q_CLUSTER['orm'] = 'queue'\n")
    site.manage("migrate", "-v0", "--database", "queue")
    with site.cluster() as cluster:
        (first,) = eventually(lambda: cluster.pids(ROLES["monitor"]), why=lambda: cluster.log)
        with closing(sqlite3.connect(site.folder / "db.sqlite3", isolation_level=None)) as database:
            database.execute("BEGIN EXCLUSIVE")
            send(site, "'jobs.mark', 'x', save=True")
            eventually(lambda: "the monitor made no progress" in cluster.log, within=15, why=lambda: cluster.log)
            database.execute("ROLLBACK")
        eventually(lambda: set(cluster.pids(ROLES["monitor"])) - {first}, why=lambda: cluster.log)
        send(site, "'jobs.mark', 'y', save=True")
        code = "from django_q.models import Task; answer = Task.objects.filter(success=True).count()"
        eventually(lambda: site.run(code) >= 1, within=20, why=lambda: cluster.log)


# stopping


@pytest.mark.parametrize("role", ["pusher", "monitor", "scheduler"])
def test_stop_is_bounded_when_a_process_hangs(made, role):
    site = made(stop_timeout=2)
    with site.cluster() as cluster:
        (victim,) = eventually(lambda: cluster.pids(ROLES[role]), why=lambda: cluster.log)
        family = cluster.family()
        cluster.freeze(victim)
        began = time.monotonic()
        assert cluster.stop() == 0, cluster.log
        assert time.monotonic() - began < 16
        eventually(lambda: not any(lives(process) for process in family))


def test_hanging_sentinel_ends_the_cluster_when_told_to_stop(made):
    site = made(stop_timeout=0)
    with site.cluster() as cluster:
        family = cluster.family()
        sentinel = family[1]
        cluster.freeze(sentinel.pid)
        assert cluster.stop() == 1, cluster.log
        assert "did not end the cluster within stop_timeout" in cluster.log
        eventually(lambda: not any(lives(process) for process in family))


@pytest.mark.parametrize("hangs", [None, "monitor", "pusher", "sentinel"])
def test_second_signal_ends_the_cluster_within_two_seconds(made, hangs):
    site = made(workers=1)
    with site.cluster() as cluster:
        send(site, "'jobs.stubborn', 'x', 60")
        eventually(lambda: site.notes(), why=lambda: cluster.log)
        family = cluster.family()
        if hangs == "sentinel":
            cluster.freeze(family[1].pid)
        elif hangs:
            cluster.freeze(*cluster.pids(ROLES[hangs]))
        cluster.signal(signal.SIGTERM)
        eventually(lambda: "stopping." in cluster.log)
        time.sleep(0.2)  # two signals, not one twice
        cluster.signal(signal.SIGTERM)
        began = time.monotonic()
        status = cluster.process.wait(30)
        assert time.monotonic() - began < 2 + 1.5, "the second is for a machine that has other things to do"
        assert status == (1 if hangs == "sentinel" else 0) or cluster.log.count("second signal") == 1
        eventually(lambda: not any(lives(process) for process in family))


@pytest.mark.parametrize(("signals", "seconds"), [(1, 12), (2, 2)])
def test_cluster_ends_although_its_log_is_a_full_pipe(made, signals, seconds):
    site = made(workers=1, guard_timeout=4, stop_timeout=1)
    reader, writer = os.pipe()
    process = subprocess.Popen(
        [sys.executable, "-m", "django", "qcluster"],
        env=site.environment, cwd=site.folder, stdout=writer, stderr=writer, start_new_session=True,
    )  # fmt: skip
    try:
        log = b""
        while b" running." not in log:
            log += os.read(reader, 4096)
        outermost = psutil.Process(process.pid)
        family = [outermost, *outermost.children(recursive=True)]
        fill(writer)
        send(site, "'jobs.mark', 'x'")
        began = time.monotonic()
        for _ in range(signals):
            process.send_signal(signal.SIGTERM)
            time.sleep(0.2)  # two signals, not one twice
        assert process.wait(seconds + 10) == 1
        assert time.monotonic() - began < seconds + 1.5, "the rest is for a machine that has other things to do"
        eventually(lambda: not any(lives(each) for each in family))
    finally:
        process.kill()
        os.close(reader)
        os.close(writer)


def fill(writer):
    """Fill a pipe whose writers block."""
    file = os.open(f"/proc/self/fd/{writer}", os.O_WRONLY | os.O_NONBLOCK)
    for size in (4096, 1):
        with suppress(BlockingIOError):
            while True:
                os.write(file, b"." * size)
    os.close(file)


@pytest.mark.parametrize("kind", ["sqlite", "redis"])
def test_hook_of_a_task_that_ends_during_a_stop_runs_in_a_worker(make_site, kind):
    site = make_site(kind, workers=1)
    with (site.folder / "jobs.py").open("a") as jobs:
        jobs.write('\ndef where(task):\n    note("hook", os.getpid())\n')
    with site.cluster() as cluster:
        (worker,) = eventually(lambda: cluster.pids(ROLES["worker"]), why=lambda: cluster.log)
        send(site, "'jobs.slow', 'x', 2, hook='jobs.where'")
        eventually(lambda: site.notes(), why=lambda: cluster.log)
        assert cluster.stop() == 0
        assert site.notes()[-1] == f"hook {worker}", cluster.log


OLD_BROKER = '''
import fcntl
from pathlib import Path
from django_q.brokers import Broker

FILE = Path(__file__).with_name("queue")

class Folder(Broker):
    """A broker as the public editions knew it: no receipts, and up to ten packages at once."""

    def enqueue(self, package, **options):
        with FILE.open("a") as file:
            file.write(package + "\\n")

    def dequeue(self):
        with open(str(FILE) + ".lock", "w") as lock:
            fcntl.flock(lock, fcntl.LOCK_EX)
            lines = FILE.read_text().splitlines() if FILE.exists() else []
            FILE.write_text("".join(line + "\\n" for line in lines[10:]))
        return [(None, line) for line in lines[:10]] or None
'''


@pytest.mark.parametrize("stop_timeout", [2, 20])
def test_broker_that_delivers_more_than_asked_loses_nothing(made, stop_timeout):
    site = made(workers=1, bulk=10, broker_class="oldbroker.Folder", stop_timeout=stop_timeout)
    (site.folder / "oldbroker.py").write_text(OLD_BROKER)
    with (site.folder / "site_settings.py").open("a") as settings:
        settings.write("del Q_CLUSTER['orm']\n")
    send(site, *(f"'jobs.slow', {number}, 0.4" for number in range(10)))
    with site.cluster() as cluster:
        eventually(lambda: site.notes(), why=lambda: cluster.log)
        assert cluster.stop() == 0
    ran, left = len(site.notes()) // 2, len((site.folder / "queue").read_text().splitlines())
    assert ran + left == 10, cluster.log
    assert left == 0 or stop_timeout == 2
    assert left > 0 or stop_timeout == 20
    with site.cluster() as cluster:
        eventually(lambda: len(site.notes()) == 20, within=10, why=lambda: cluster.log)


# what a task leaves behind


@pytest.mark.parametrize("func", ["leaves_a_thread", "leaves_a_process"])
def test_recycled_worker_waits_for_nothing_that_a_task_left(made, func):
    site = made(workers=1, recycle=1, daemonize_workers=False)
    with site.cluster() as cluster:
        send(site, f"'jobs.{func}', 'first'", "'jobs.mark', 'second'")
        eventually(lambda: "second" in site.notes(), within=10, why=lambda: cluster.log)
        assert "recycled worker" in cluster.log
        if func == "leaves_a_process":
            assert "did not exit" not in cluster.log
            assert not lives(int(site.notes()[0].split()[1]))


def test_stop_does_not_wait_for_a_thread_that_a_task_left_behind(made):
    site = made(workers=1, stop_timeout=20)
    with site.cluster() as cluster:
        send(site, "'jobs.leaves_a_thread', 'first'")
        eventually(lambda: site.notes(), why=lambda: cluster.log)
        began = time.monotonic()
        assert cluster.stop() == 0
        assert time.monotonic() - began < 15


@pytest.mark.parametrize(
    "call",
    [
        "'jobs.starts', 'x', 60, timeout=1, ack_failure=True",
        "'jobs.starts', 'x', 60, True, timeout=1, ack_failure=True",
        "'jobs.starts_and_dies', 'x', ack_failure=True",
    ],
    ids=["timeout", "timeout that is ignored", "death of the worker"],
)
def test_programs_that_a_task_has_started_end_with_it(made, call):
    site = made(workers=1)
    with site.cluster() as cluster:
        send(site, call)
        (note,) = eventually(site.notes, why=lambda: cluster.log)
        programs = [int(pid) for pid in note.split()[1:]]
        assert len(programs) == 2
        eventually(lambda: not any(lives(pid) for pid in programs), within=10, why=lambda: cluster.log)
        send(site, "'jobs.mark', 'after'")
        eventually(lambda: "after" in site.notes(), within=10, why=lambda: cluster.log)


@pytest.mark.parametrize("how", ["interrupted", "sentinel killed"])
def test_programs_of_a_task_end_with_the_cluster(made, how):
    site = made(workers=1, stop_timeout=1)
    with site.cluster() as cluster:
        send(site, "'jobs.starts', 'x', 60")
        (note,) = eventually(site.notes, why=lambda: cluster.log)
        programs = [int(pid) for pid in note.split()[1:]]
        if how == "interrupted":
            assert cluster.stop() == 0
        else:
            cluster.family()[1].kill()
            assert ended(cluster, within=5) == 1
        eventually(lambda: not any(lives(pid) for pid in programs), within=5, why=lambda: cluster.log)


def test_program_that_a_successful_task_left_running_goes_on(made):
    site = made(workers=1, recycle=1)
    with site.cluster() as cluster:
        send(site, "'jobs.starts', 'x'", "'jobs.mark', 'after'")
        eventually(lambda: "after" in site.notes(), within=10, why=lambda: cluster.log)
        programs = [psutil.Process(int(pid)) for pid in site.notes()[0].split()[1:]]
        assert all(lives(program) for program in programs)
        kill_all(programs)


def test_ctrl_c_stops_the_cluster_and_lets_the_task_finish(made):
    site = made(workers=1)
    cluster = RunningCluster(site, (), {})
    try:
        cluster.wait_until_running()
        send(site, "'jobs.slow', 'x', 3")
        eventually(lambda: site.notes(), why=lambda: cluster.log)
        os.killpg(cluster.process.pid, signal.SIGINT)  # as the terminal does: to the whole group in the foreground
        assert cluster.process.wait(30) == 0
        assert site.notes()[-1] == "x ends"
    finally:
        cluster.end()
