"""Restores what a task may have changed of its worker, so that it cannot damage the next task."""

from __future__ import annotations

import os
import signal
import sys
from contextvars import ContextVar, copy_context
from pathlib import Path
from typing import TYPE_CHECKING, Any, Final

from django.utils import timezone, translation

from django_q.exceptions import DjangoQError

from .interpreter import REPLACES_WORKER, Interpreter, inode_of

if TYPE_CHECKING:
    from collections.abc import Iterable

AUDITED: Final = frozenset({"os.chdir", "os.putenv", "os.unsetenv"})
"""Audit events of Python (https://docs.python.org/3/library/audit_events.html) after which there is more to restore."""

SIGNALS: Final = (
    *(signal.SIGINT, signal.SIGTERM, signal.SIGCHLD, signal.SIGALRM),
    *(signal.SIGHUP, signal.SIGUSR1, signal.SIGUSR2),
)
"""Signals whose handlers are restored. A timer that a task leaves behind finds the handler of `TaskTimer`."""

MAX_LEAKED_FILES: Final = 200
"""File descriptors that tasks may leave open before their worker is replaced."""


class WorkerDamaged(DjangoQError):
    """A task closed or replaced file descriptors of its worker, which cannot go on."""


class Baseline:
    """The state of a worker between two tasks. Made once in a process, before its first task.

    What takes long to restore is restored only if it may have changed: environment and working directory after an audit
    event, language and time zone after a change of a context variable.

    Args:
        files: descriptors that the worker needs.
    """

    def __init__(self, files: Iterable[int] = ()) -> None:
        self.environment = dict(os.environ)
        self.folder = str(Path.cwd())
        self.umask = os.umask(0o022)
        os.umask(self.umask)
        self.handlers = {number: signal.getsignal(number) for number in SIGNALS}
        self.files = {file: os.fstat(file).st_ino for file in files}
        self.first_free_file = free_file()
        self.interpreter = Interpreter()
        self.context = context_values()
        self.changed = False
        self.is_damaged = False
        """True if something could not be restored, so that the worker should be replaced."""
        sys.addaudithook(self._audit)

    def _audit(self, event: str, _arguments: tuple[Any, ...]) -> None:
        if event in AUDITED:
            self.changed = True
        elif event in REPLACES_WORKER:
            self.is_damaged = True

    def keep_environment(self) -> None:
        """Keep what a module changed of the environment while it was imported: it is not imported again."""
        if self.changed:
            self.environment = dict(os.environ)

    def restore(self) -> None:
        """Undo the changes of a task.

        Raises:
            WorkerDamaged: the worker must end, because descriptors that it needs were closed or replaced.
        """
        for file, inode in self.files.items():
            if inode_of(file) != inode:
                raise WorkerDamaged
        for number, handler in self.handlers.items():
            if signal.getsignal(number) is not handler:
                signal.signal(number, handler)
        os.umask(self.umask)
        if not self.interpreter.restore():
            self.is_damaged = True
        if context_values() != self.context:
            translation.deactivate()
            timezone.deactivate()
            self.context = context_values()
        if self.changed:
            self._restore_environment()

    def _restore_environment(self) -> None:
        for name in os.environ.keys() - self.environment.keys():
            del os.environ[name]
        for name, value in self.environment.items():
            if os.environ.get(name) != value:
                os.environ[name] = value
        try:
            os.chdir(self.folder)
        except OSError:  # the folder is gone
            self.is_damaged = True
        self.changed = False

    def has_leaked_files(self) -> bool:
        """Return whether tasks have left so many files open that the worker should be replaced."""
        try:
            return free_file() > self.first_free_file + MAX_LEAKED_FILES
        except OSError:  # not even one is left
            return True


def context_values() -> dict[ContextVar[Any], int]:
    """Return the identity of each context variable's value: Django keeps language and time zone in such variables."""
    return {variable: id(value) for variable, value in copy_context().items()}


def free_file() -> int:
    """Return the lowest file descriptor that is not in use."""
    file = os.open(os.devnull, os.O_RDONLY | os.O_CLOEXEC)
    os.close(file)
    return file
