"""On Windows, tasks are sent and executed in sync mode; a cluster names the systems on which it runs."""

from __future__ import annotations

import os
import subprocess
import sys
from importlib.util import find_spec

import pytest

WINDOWS = '''
import asyncio, ctypes, getpass, logging.handlers, multiprocessing.connection, multiprocessing.popen_spawn_posix
import multiprocessing.reduction, multiprocessing.util, selectors, shutil, sqlite3, subprocess, tempfile
import os, select, signal, socket, sys, time
import django.core.files.locks, django.core.management, django.db.backends.sqlite3.base, django.test

def pair(*arguments, unix=socket.AF_UNIX, make=socket.socketpair):
    """Return a pair of TCP sockets, as on Windows."""
    return make(unix, socket.SOCK_STREAM)

socket.socketpair = pair
MISSING = {
    os: """fork register_at_fork getpgrp getpgid setpgid killpg setsid getsid pread pwrite nice sysconf memfd_create
        MFD_CLOEXEC O_CLOEXEC O_NONBLOCK waitid P_PID WNOHANG WEXITED WNOWAIT sched_getaffinity sched_setaffinity uname
        mkfifo getuid geteuid getgid chown fchmod eventfd pidfd_open wait3 wait4""",
    select: "poll epoll POLLIN POLLOUT",
    signal: """SIGALRM SIGKILL SIGHUP SIGCHLD SIGUSR1 SIGUSR2 SIGTTIN SIGTTOU SIGQUIT SIGPIPE SIG_BLOCK SIG_SETMASK
        pthread_sigmask setitimer getitimer ITIMER_REAL alarm pause siginterrupt sigwait sigtimedwait""",
    socket: "AF_UNIX SOCK_SEQPACKET SCM_RIGHTS MSG_DONTWAIT CMSG_SPACE CMSG_LEN send_fds recv_fds",
    time: "clock_gettime CLOCK_MONOTONIC CLOCK_REALTIME tzset",
}
for module, names in MISSING.items():
    for name in names.split():
        if hasattr(module, name):
            delattr(module, name)
for name in "curses _curses fcntl grp pty pwd readline resource syslog termios tty".split():
    sys.modules[name] = None
sys.platform = "win32"
'''

SITE = """
from django.conf import settings
settings.configure(
    SECRET_KEY="x", USE_TZ=True, DEFAULT_AUTO_FIELD="django.db.models.BigAutoField",
    INSTALLED_APPS=["django.contrib.contenttypes", "django.contrib.auth", "django_q", *APPS],
    DATABASES={"default": {"ENGINE": "django.db.backends.sqlite3", "NAME": ":memory:"}},
    Q_CLUSTER={"name": "windows", "timeout": 5, "retry": 10, "start_method": "fork", **Q_CLUSTER},
)
import django
django.setup()
from django.core.management import ManagementUtility, call_command
"""


@pytest.fixture
def on_windows(tmp_path):
    """Run code in a Python that lacks what Windows lacks."""

    def run(code: str, *apps: str, **q_cluster: object) -> subprocess.CompletedProcess[str]:
        environment = os.environ | {"PYTHONPATH": os.pathsep.join(filter(None, sys.path))}
        return subprocess.run(
            [sys.executable, "-c", f"{WINDOWS}\nAPPS = {apps!r}\nQ_CLUSTER = {q_cluster!r}\n{SITE}\n{code}"],
            capture_output=True, check=False, cwd=tmp_path, env=environment, text=True,
        )  # fmt: skip

    return run


def test_sync_mode_runs_tasks_and_coroutines(on_windows):
    done = on_windows(
        "call_command('migrate', '-v0')\n"
        "from django_q.tasks import async_task, fetch, result\n"
        "print(result(async_task('math.copysign', 2, -2)), result(async_task('asyncio.sleep', 0, 'slept')))\n"
        "print(fetch(async_task('math.sqrt', -1)).success)",
        sync=True,
    )
    assert (done.stdout.split(), done.returncode) == (["-2.0", "slept", "False"], 0), done.stderr


def test_each_module_outside_of_the_cluster_is_imported(on_windows):
    done = on_windows(
        "import importlib, pkgutil, django_q\n"
        "for each in pkgutil.walk_packages(django_q.__path__, 'django_q.'):\n"
        "    if not each.name.startswith(('django_q.cluster.', 'django_q.testing', 'django_q.admin')):\n"
        "        importlib.import_module(each.name)",
        *(f"django.contrib.{app}" for app in ("admin", "messages", "sessions")),
    )
    assert done.returncode == 0, done.stderr


@pytest.mark.skipif(find_spec("django_q_orm") is None, reason="the database broker is not installed")
def test_task_is_sent_to_a_cluster_elsewhere(on_windows):
    done = on_windows(
        "call_command('migrate', '-v0')\n"
        "from django_q.tasks import async_task, queue_size\n"
        "async_task('math.copysign', 2, -2); print(queue_size())",
        "django_q_orm",
        orm="default",
    )
    assert (done.stdout, done.returncode) == ("1\n", 0), done.stderr


def test_qcluster_names_the_alternatives_in_one_line(on_windows):
    done = on_windows("ManagementUtility(['manage.py', 'qcluster']).execute()")
    assert done.returncode == 1
    assert done.stdout == ""
    (line,) = done.stderr.splitlines()
    assert line.startswith("CommandError: A cluster needs Linux, macOS or another Unix")
    assert "WSL" in line
    assert "sync" in line


def test_import_of_a_cluster_names_the_alternatives(on_windows):
    done = on_windows("from django_q.cluster import Cluster")
    assert done.stderr.splitlines()[-1].startswith("ImportError: A cluster needs Linux, macOS or another Unix")
