"""Restores what a task may have changed of its worker, so that it cannot damage the next task."""

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
"""Audit events of Python (https://docs.python.org/3/library/audit_events.html) after which there is more to restore."""

SIGNALS: Final = (
    *(signal.SIGINT, signal.SIGTERM, signal.SIGCHLD, signal.SIGALRM),
    *(signal.SIGHUP, signal.SIGUSR1, signal.SIGUSR2),
)
"""Signals whose handlers are restored. A timer that a task leaves behind finds the handler of `TaskTimer`."""

TRUSTED_TASKS: Final = 50
"""Number of tasks in a row that changed nothing, after which not every short task is followed by a whole comparison."""

COMPARE_SECONDS: Final = 0.001
"""Least time between two whole comparisons while tasks are trusted."""

MAX_LEAKED_FILES: Final = 200
"""File descriptors that tasks may leave open before their worker is replaced."""


class WorkerDamaged(DjangoQError):
    """A task closed or replaced file descriptors of its worker, which cannot go on."""


class Baseline:
    """The state of a worker between two tasks. Made once in a process, before its first task.

    What takes long to restore is restored only if it may have changed: environment and working directory after an audit
    event, language and time zone after a change of a context variable. Signal handlers, standard files and the state of
    the interpreter are compared after each task, too; but among many tasks shorter than `COMPARE_SECONDS` that changed
    nothing, only once in that time: to compare them takes as long as such a task.

    Args:
        files: descriptors that the worker needs; the first is looked at after each task.
    """

    def __init__(self, files: Iterable[int] = ()) -> None:
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
        """When trusted tasks are followed by a whole comparison again (`time.monotonic`, seconds)."""
        self.is_damaged = False
        """True if something could not be restored, so that the worker should be replaced."""
        self.events: dict[str, Any] = {}
        """Audit events since the last restoration. A dictionary's method is a hook that runs no Python code."""
        sys.addaudithook(self.events.__setitem__)

    def keep_environment(self) -> None:
        """Keep what a module changed of the environment while it was imported: it is not imported again."""
        if not RESTORED_EVENTS.isdisjoint(self.events):
            self.environment = dict(os.environb)

    def restore(self) -> None:
        """Undo the changes of a task.

        Raises:
            WorkerDamaged: the worker must end, because descriptors that it needs were closed or replaced.
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
        """Return whether context variables have changed: Django keeps language and time zone in such variables."""
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
        """Return whether tasks have left so many files open that the worker should be replaced."""
        try:
            return free_file() > self.first_free_file + MAX_LEAKED_FILES
        except OSError:  # not even one is left
            return True


def free_file() -> int:
    """Return the lowest file descriptor that is not in use."""
    file = os.open(os.devnull, os.O_RDONLY | os.O_CLOEXEC)
    os.close(file)
    return file
