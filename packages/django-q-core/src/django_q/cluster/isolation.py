"""Restores the state of a worker after each task, so that a task cannot damage the next one."""

from __future__ import annotations

import os
import signal
import sys
import time
from contextvars import copy_context
from typing import TYPE_CHECKING, Any, Final

from django.utils import timezone, translation

from django_q.cluster.system.interpreter import DAMAGING_EVENTS, Interpreter, handler_of, inode_of
from django_q.exceptions import DjangoQError

if TYPE_CHECKING:
    from collections.abc import Iterable

RESTORED_EVENTS: Final = frozenset({"os.chdir", "os.putenv", "os.unsetenv"})
"""Audit events after which environment and working directory are restored.

See https://docs.python.org/3/library/audit_events.html."""

SIGNALS: Final = (
    *(signal.SIGINT, signal.SIGTERM, signal.SIGCHLD, signal.SIGALRM),
    *(signal.SIGHUP, signal.SIGUSR1, signal.SIGUSR2, signal.SIGURG),
)
"""Signals whose handlers are restored. A timer that a task leaves behind calls the handler of `TaskTimer`."""

TRUSTED_TASKS: Final = 50
"""After so many tasks in a row without changes, short tasks are compared once per `COMPARE_SECONDS`."""

COMPARE_SECONDS: Final = 0.001
"""Minimum time between two full comparisons while tasks are trusted."""

MAX_LEAKED_FILES: Final = 200
"""Maximum number of file descriptors that tasks leave open before their worker is replaced."""


class WorkerDamaged(DjangoQError):
    """A task has closed or replaced file descriptors of its worker, which must exit."""


class Baseline:
    """State of a worker between two tasks. Created once per process, before its first task.

    Environment and working directory are restored after an audit event only. Language and time zone are restored after
    a change of a context variable only. Signal handlers, standard files and the state of the interpreter are compared
    after each task. After `TRUSTED_TASKS` tasks without changes, this is done once per `COMPARE_SECONDS`, because it
    takes as long as a short task.

    Args:
        files: descriptors that the worker needs. The first is checked after each task.
        has_hook: False if audit events are not noted. A hook stays for as long as its process.
    """

    def __init__(self, files: Iterable[int] = (), *, has_hook: bool = True) -> None:
        self.environment = dict(os.environb)
        self.folder = os.getcwd()  # noqa: PTH109 - a path object costs a new process 100 KB
        self.umask = os.umask(0o022)
        os.umask(self.umask)
        self.handlers = {number: handler_of(number) for number in SIGNALS}
        self.files = [(file, os.fstat(file).st_ino) for file in files]
        self.first_free_file = free_file()
        self.interpreter = Interpreter()
        self.context = copy_context()
        self.unchanged_tasks = 0
        self.compare_at = 0.0
        """Time of the next full comparison while tasks are trusted (`time.monotonic`, seconds)."""
        self.is_damaged = False
        """True if some state could not be restored, so that the worker should be replaced."""
        self.events: dict[str, Any] = {}
        """Audit events since the last restoration. The hook is a method of the dictionary: it runs no Python code."""
        if has_hook:
            sys.addaudithook(self.events.__setitem__)

    def keep_environment(self) -> None:
        """Accept changes of the environment by the import of a module, which is not imported again."""
        if not RESTORED_EVENTS.isdisjoint(self.events):
            self.environment = dict(os.environb)

    def restore(self) -> None:
        """Undo the changes of a task.

        Raises:
            WorkerDamaged: the task has closed or replaced descriptors that the worker needs, so it must exit.
        """
        self.unchanged_tasks += 1
        self._compare_files(1)
        if os.umask(self.umask) != self.umask:
            self.unchanged_tasks = 0
        if self._has_other_context():
            translation.deactivate()
            timezone.deactivate()
            self.context, self.unchanged_tasks = copy_context(), 0
        if not DAMAGING_EVENTS.isdisjoint(self.events):
            self.is_damaged = True
        if not RESTORED_EVENTS.isdisjoint(self.events):
            self._restore_environment()
            self.unchanged_tasks = 0
        self.events.clear()
        now = time.monotonic()
        if self.unchanged_tasks <= TRUSTED_TASKS or now >= self.compare_at:
            self.compare_at = now + COMPARE_SECONDS
            self._compare_all()

    def _compare_all(self) -> None:
        self._compare_files(len(self.files))
        for number, handler in self.handlers.items():
            if handler_of(number) is not handler and handler is not None:  # None: not set by Python
                signal.signal(number, handler)
                self.unchanged_tasks = 0
        if not self.interpreter.restore():
            self.is_damaged = True

    def _compare_files(self, count: int) -> None:
        for file, inode in self.files[:count]:
            if inode_of(file) != inode:
                raise WorkerDamaged

    def _has_other_context(self) -> bool:
        """Return True if context variables have changed. Django stores language and time zone in them."""
        try:
            return copy_context() != self.context
        except BaseException:  # noqa: BLE001 - comparing runs the code of values that the task has set
            return True

    def _restore_environment(self) -> None:
        for name in os.environb.keys() - self.environment.keys():
            del os.environb[name]
        for name, value in self.environment.items():
            if os.environb.get(name) != value:
                os.environb[name] = value
        try:
            os.chdir(self.folder)
        except OSError:  # the folder is gone
            self.is_damaged = True

    def has_leaked_files(self) -> bool:
        """Return True if tasks have left so many files open that the worker should be replaced."""
        try:
            return free_file() > self.first_free_file + MAX_LEAKED_FILES
        except OSError:  # no descriptor is free
            return True


def free_file() -> int:
    """Return the lowest file descriptor that is not in use."""
    file = os.open(os.devnull, os.O_RDONLY | os.O_CLOEXEC)
    os.close(file)
    return file
