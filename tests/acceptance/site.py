"""A Django site in a folder of its own, with real processes, as after the steps of the README."""

from __future__ import annotations

import json
import os
import re
import signal
import sqlite3
import subprocess
import sys
import textwrap
import time
from contextlib import closing, contextmanager, suppress
from typing import TYPE_CHECKING, Any

import psutil

from .nursery import BYTECODE
from .shell import Shell

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable, Iterator
    from pathlib import Path

START_METHOD = os.environ.get("DJANGO_Q_START_METHOD")
"""Default start method of the processes of all clusters; None for the default of the system."""

MYSQL = "import pymysql; pymysql.install_as_MySQLdb()\n"
"""First line of settings with a MariaDB; others omit this import, which takes a tenth of a start."""

SETTINGS = """
SECRET_KEY = "acceptance"
USE_TZ = True
INSTALLED_APPS = [
    "django.contrib.auth", "django.contrib.contenttypes", "django.contrib.sessions",
    "django_q", *{apps!r},
]
DATABASES = {{"default": {database!r}}}
DEFAULT_AUTO_FIELD = "django.db.models.BigAutoField"
CACHES = {{"default": {{"BACKEND": "django.core.cache.backends.filebased.FileBasedCache", "LOCATION": {cache!r}}}}}
Q_CLUSTER = {q_cluster!r}
"""

JOBS = '''
"""Tasks that write a line to a file at each execution."""
import asyncio, os, signal, sys, time

def note(label, *more):
    line = " ".join([str(label), *map(str, more)]) + "\\n"
    file = os.open(os.environ["NOTES"], os.O_WRONLY | os.O_APPEND | os.O_CREAT)
    os.write(file, line.encode())
    os.close(file)

def mark(label):
    note(label)
    return label

def slow(label, seconds):
    note(label, "begins", os.getpid())
    time.sleep(seconds)
    note(label, "ends")
    return label

def boom(label):
    note(label)
    raise ValueError("boom " + str(label))

def second_time(label):
    note(label)
    with open(os.environ["NOTES"]) as notes:
        if notes.read().split().count(label) < 2:
            raise ValueError("not yet")
    return label

def suicide(label, how):
    note(label)
    if how == "kill": os.kill(os.getpid(), signal.SIGKILL)
    if how == "exit": os._exit(3)
    if how == "sysexit": sys.exit(4)
    if how == "segfault":
        import ctypes; ctypes.string_at(0)

def stubborn(label, seconds):
    note(label)
    end = time.monotonic() + seconds
    while time.monotonic() < end:
        try:
            time.sleep(0.05)
        except BaseException:
            pass

def tidy(label, seconds):
    try:
        time.sleep(seconds)
    finally:
        note(label, "finally")

def unpicklable():
    return lambda: 1

async def coroutine(label):
    await asyncio.sleep(0.01)
    return label

def hook(task):
    note("hook", task.name, task.success, task.result if task.success else "failure")

def slow_hook(task):
    time.sleep(3)
    note("slow hook", task.name)

def pid():
    return os.getpid()

def c_code():
    return sum(range(10**12))

def own_alarm(label):
    signal.signal(signal.SIGALRM, lambda *_: None)
    note(label)

def own_alarm_without_end(label):
    own_alarm(label)
    while True:
        time.sleep(0.1)

def peak(megabytes):
    block = bytearray(megabytes * 2**20)
    block[:: 4096] = b"x" * len(block[:: 4096])
    return os.getpid()

class Noter:
    def report(self):
        from django_q.context import current_task
        task, error = current_task(), sys.exc_info()[1]
        note("reported", task.name if task else "-", type(error).__name__, *([] if task else [error]))
        time.sleep(float(os.environ.get("REPORTER_SECONDS", 0)))

def make_process():
    import multiprocessing
    child = multiprocessing.get_context("fork").Process(target=os.getpid)
    child.start()
    child.join()
    return child.exitcode
'''


class Site:
    """A project on disk.

    Args:
        folder: an empty folder.
        q_cluster: the `Q_CLUSTER` setting.
        database: entry of the default database; None for SQLite in the folder.
        apps: more `INSTALLED_APPS`.
    """

    def __init__(
        self,
        folder: Path,
        q_cluster: dict[str, Any],
        database: dict[str, Any] | None = None,
        apps: tuple[str, ...] = (),
    ) -> None:
        self.folder = folder
        self.q_cluster = q_cluster
        self.notes_file = folder / "notes"
        if START_METHOD:
            q_cluster = {"start_method": START_METHOD} | q_cluster
        database = database or {"ENGINE": "django.db.backends.sqlite3", "NAME": str(folder / "db.sqlite3")}
        settings = SETTINGS.format(apps=apps, database=database, q_cluster=q_cluster, cache=str(folder / "cache"))
        if "mysql" in database["ENGINE"]:
            settings = MYSQL + settings
        (folder / "site_settings.py").write_text(settings)
        (folder / "jobs.py").write_text(JOBS)
        self.shells: list[Shell] = []
        self.state: object = None
        self.environment = os.environ | {
            "DJANGO_SETTINGS_MODULE": "site_settings",
            "PYTHONPATH": os.pathsep.join(filter(None, [str(folder), os.environ.get("PYTHONPATH")])),
            "NOTES": str(self.notes_file),
        }
        self.environment.setdefault("PYTHONPYCACHEPREFIX", str(BYTECODE))
        self.environment.pop("PYTHONDONTWRITEBYTECODE", None)
        self.environment.pop("Q_CLUSTER_NAME", None)

    def manage(self, *arguments: str, check: bool = True, **environment: str) -> subprocess.CompletedProcess[str]:
        """Run `manage.py` with arguments."""
        return subprocess.run(
            [sys.executable, "-m", "django", *arguments],
            env=self.environment | environment,
            cwd=self.folder,
            text=True,
            capture_output=True,
            check=check,
            timeout=120,
        )

    def command(self, *arguments: str) -> subprocess.CompletedProcess[str]:
        """Run `manage.py` as `manage` does, but in a process forked from one in which Django is set up already.

        For commands of which another test starts a process, and for polls.
        """
        code = f"""
from django.core.management import execute_from_command_line
execute_from_command_line({["manage.py", *arguments]!r})
"""
        with self._shell() as shell:
            return shell.run(code)

    def run(self, code: str) -> Any:
        """Run Python code in the site, and return what it assigns to `answer`, as JSON.

        Each call has a process of its own, forked from one in which Django is set up already.
        """
        script = "import django, json, sys\nanswer = None\n" + textwrap.dedent(code)
        script += "\nprint('\\nANSWER', json.dumps(answer, default=str))"
        with self._shell() as shell:
            done = shell.run(script)
        assert done.returncode == 0, f"the snippet ended with status {done.returncode}:\n{done.stderr}"
        _, answered, answer = done.stdout.rpartition("ANSWER ")
        assert answered, f"the snippet exited before its last line:\n{done.stderr}"
        return json.loads(answer)

    def flush(self) -> None:
        """Delete all rows of the default database."""
        self.run(
            """
            from django.core.management import call_command
            call_command("flush", interactive=False, verbosity=0)
            """
        )

    def close(self) -> None:
        """End the shells; a later `run` starts a new one."""
        while self.shells:
            self.shells.pop().close()

    @contextmanager
    def _shell(self) -> Iterator[Shell]:
        """Yield a shell for one thread, which has the present code, settings and environment."""
        state = dict(self.environment), {file: file.read_bytes() for file in self.folder.rglob("*.py")}
        if state != self.state:
            self.close()
            self.state = state
        try:
            shell = self.shells.pop()
        except IndexError:
            shell = Shell(self.folder, self.environment)
        try:
            yield shell
        except BaseException:
            shell.close()
            raise
        self.shells.append(shell)

    def notes(self) -> list[str]:
        """Return the lines that tasks have written."""
        return self.notes_file.read_text().splitlines() if self.notes_file.exists() else []

    @contextmanager
    def cluster(self, *arguments: str, **environment: str) -> Iterator[RunningCluster]:
        """Run `qcluster` during a block. At its end, the cluster is stopped, and killed if it does not stop."""
        cluster = RunningCluster(self, arguments, environment)
        try:
            cluster.wait_until_running()
            yield cluster
        finally:
            cluster.end()


class RunningCluster:
    """A `manage.py qcluster` and all its processes."""

    def __init__(self, site: Site, arguments: tuple[str, ...], environment: dict[str, str]) -> None:
        self.site = site
        self.chosen = {*arguments, *environment.values()}
        """Words that may name an alternative cluster."""
        number = len(list(site.folder.glob("cluster*.log")))
        self.log_file = site.folder / f"cluster{number}.log"
        with self.log_file.open("wb") as log:
            self.process = subprocess.Popen(
                [sys.executable, "-m", "django", "qcluster", *arguments],
                env=site.environment | environment, cwd=site.folder, stdout=log, stderr=log, start_new_session=True,
            )  # fmt: skip

    @property
    def log(self) -> str:
        """Log of the cluster until now."""
        return self.log_file.read_text()

    @property
    def workers(self) -> int:
        """Number of its workers, according to the settings of the project or of the alternative cluster."""
        q_cluster = self.site.q_cluster
        alternatives = q_cluster.get("ALT_CLUSTERS", {})
        own = [options for name, options in alternatives.items() if name in self.chosen]
        return max(options.get("workers", q_cluster.get("workers", 1)) for options in own or [q_cluster])

    def wait_until_running(self) -> None:
        """Wait for the log line `running.` of the manual."""
        eventually(lambda: " running." in self.log or self.process.poll() is not None, within=20, why=lambda: self.log)
        assert self.process.poll() is None, self.log
        if START_METHOD:  # with these, a process is ready long after its start
            wanted = {"ready for work": self.workers, "monitoring": 1, "pushing tasks": 1, "scheduling": 1}
            eventually(
                lambda: all(len(self.pids(role)) >= wanted[role] for role in wanted) or self.process.poll() is not None,
                within=20,
                why=lambda: self.log,
            )

    def family(self) -> list[psutil.Process]:
        """Return all processes except helpers of `multiprocessing`: the outermost, the sentinel, then the others."""
        try:
            parent = psutil.Process(self.process.pid)
            children = parent.children(recursive=True)
        except psutil.NoSuchProcess:
            return []
        helpers = {child.pid for child in children if helps_python(child)}
        outer = helpers_of(parent.pid, children, helpers)
        ours = [child for child in children if child.pid not in helpers]
        return [parent, *sorted(ours, key=lambda child: parent_of(child) not in outer)]

    def pids(self, role: str) -> list[int]:
        """Return the process ids of a role, by its words in the log, such as `ready for work` or `pushing tasks`."""
        return [pid for pid in map(int, re.findall(rf"{role} at (\d+)", self.log)) if lives(pid)]

    def freeze(self, *pids: int) -> list[psutil.Process]:
        """Send SIGSTOP to some processes or all, but not during a write, which on SQLite would block all writers."""
        processes = [psutil.Process(pid) for pid in pids] or self.family()
        while True:
            for process in processes:
                process.suspend()
            if writable(self.site.folder / "db.sqlite3"):
                return processes
            for process in processes:
                process.resume()

    def kill(self) -> None:
        """Send SIGKILL to all processes."""
        kill_all(self.family())

    def signal(self, number: int) -> None:
        """Send a signal to the outermost process."""
        self.process.send_signal(number)

    def stop(self, within: float = 40) -> int:
        """Send SIGTERM, and return the exit status."""
        self.signal(signal.SIGTERM)
        return self.process.wait(within)

    def end(self) -> None:
        """Stop the cluster, and kill the processes that remain."""
        family = self.family()
        if self.process.poll() is None:
            self.signal(signal.SIGTERM)
            with suppress(subprocess.TimeoutExpired):
                self.process.wait(40)
        kill_all(family)
        self.process.wait(10)


def writable(database: Path) -> bool:
    """Return True if no process holds the lock of the SQLite database, if there is one."""
    if not database.exists():
        return True
    try:
        with closing(sqlite3.connect(database, timeout=0.1, isolation_level=None)) as connection:
            connection.execute("BEGIN EXCLUSIVE")
            connection.execute("ROLLBACK")
    except sqlite3.OperationalError:
        return False
    return True


def helps_python(process: psutil.Process) -> bool:
    """Return True if a process is a helper of `multiprocessing`. Its forks have the same command line."""
    with suppress(psutil.NoSuchProcess):
        words, parent = " ".join(process.cmdline()), process.parent()
        helps = "multiprocessing.resource_tracker" in words or "multiprocessing.forkserver" in words
        return helps and (parent is None or " ".join(parent.cmdline()) != words)
    return False


def parent_of(process: psutil.Process) -> int | None:
    """Return the id of a process's parent; None if the process has ended."""
    with suppress(psutil.NoSuchProcess):
        return process.ppid()
    return None


def helpers_of(pid: int, children: Iterable[psutil.Process], helpers: set[int]) -> set[int | None]:
    """Return the ids of a process and of its helpers, whose forks count as its children."""
    return {pid, *(child.pid for child in children if child.pid in helpers and parent_of(child) == pid)}


def kill_all(processes: Iterable[psutil.Process]) -> None:
    """Send SIGKILL to each. Some may have ended meanwhile."""
    for process in processes:
        with suppress(psutil.NoSuchProcess):
            process.kill()


def lives(process: psutil.Process | int) -> bool:
    """Return True if a process exists and is no zombie."""
    try:
        process = psutil.Process(process) if isinstance(process, int) else process
        return process.is_running() and process.status() != psutil.STATUS_ZOMBIE
    except psutil.NoSuchProcess:
        return False


TIME_FACTOR = 4
"""Factor for all time limits, because many processes run on two cores."""


MAX_POLL_SECONDS = 0.25
"""Maximum time between two polls."""


def eventually(true: Callable[[], Any], *, within: float = 10, why: Callable[[], object] | None = None) -> Any:
    """Wait until something is true, `within` seconds of an idle machine at most, and return it.

    Polls take a fifth of the time at most: a snippet in the site costs as much as the tasks for which it waits.
    """
    deadline = time.monotonic() + within * TIME_FACTOR
    while True:
        began = time.monotonic()
        if found := true():
            return found
        now = time.monotonic()
        if now > deadline:
            raise AssertionError(f"not true within {within} seconds{': ' + str(why()) if why else ''}")
        time.sleep(min(max(0.02, 4 * (now - began)), MAX_POLL_SECONDS))
