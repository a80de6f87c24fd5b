"""Restores what a task may have changed of its worker, so that it cannot damage the next task."""

from __future__ import annotations

import os
import resource
import signal
import sys
from contextvars import ContextVar, copy_context
from pathlib import Path
from typing import TYPE_CHECKING, Any, Final

from django.utils import timezone, translation

from django_q.exceptions import DjangoQError

if TYPE_CHECKING:
    from collections.abc import Iterable

AUDITED: Final = frozenset({"os.chdir", "os.putenv", "os.unsetenv"})
"""Audit events of Python (https://docs.python.org/3/library/audit_events.html) after which there is more to restore."""

SIGNALS: Final = (
    signal.SIGINT,
    signal.SIGTERM,
    signal.SIGCHLD,
    signal.SIGHUP,
    signal.SIGQUIT,
    signal.SIGUSR1,
    signal.SIGUSR2,
)
"""Signals whose handlers are restored; SIGALRM is restored by `TaskTimer`."""

STANDARD_FILES: Final = (0, 1, 2)
"""Descriptors of standard input, output and error."""

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
        self.blocked = signal.pthread_sigmask(signal.SIG_BLOCK, ())
        self.files = {file: os.fstat(file).st_ino for file in files}
        self.standard_files = [inode_of(file) for file in STANDARD_FILES]
        self.streams = sys.stdin, sys.stdout, sys.stderr
        self.max_files = resource.getrlimit(resource.RLIMIT_NOFILE)
        self.first_free_file = free_file()
        self.context = context_values()
        self.changed = False
        self.is_damaged = False
        """True if something could not be restored, so that the worker should be replaced."""
        sys.addaudithook(self._audit)

    def _audit(self, event: str, _arguments: tuple[Any, ...]) -> None:
        if event in AUDITED:
            self.changed = True

    def restore(self) -> None:
        """Undo the changes of a task.

        Raises:
            WorkerDamaged: the worker must end, because descriptors that it needs were closed or replaced.
        """
        for file, inode in self.files.items():
            if inode_of(file) != inode:
                raise WorkerDamaged
        self._restore_signals()
        self._restore_files()
        os.umask(self.umask)
        if context_values() != self.context:
            translation.deactivate()
            timezone.deactivate()
            self.context = context_values()
        if self.changed:
            self._restore_environment()

    def _restore_signals(self) -> None:
        for number, handler in self.handlers.items():
            if handler is not None and signal.getsignal(number) is not handler:  # None: not set by Python
                signal.signal(number, handler)
        if signal.pthread_sigmask(signal.SIG_BLOCK, ()) != self.blocked:
            signal.pthread_sigmask(signal.SIG_SETMASK, self.blocked)

    def _restore_files(self) -> None:
        """Restore the standard streams and the number of files that may be open."""
        if any(inode_of(file) != inode for file, inode in zip(STANDARD_FILES, self.standard_files, strict=True)):
            self.is_damaged = True
        sys.stdin, sys.stdout, sys.stderr = self.streams
        if resource.getrlimit(resource.RLIMIT_NOFILE) != self.max_files:
            try:
                resource.setrlimit(resource.RLIMIT_NOFILE, self.max_files)
            except (OSError, ValueError):  # the task has lowered the hard limit
                self.is_damaged = True

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


def inode_of(file: int) -> int | None:
    """Return the inode of an open file; None if the descriptor is closed."""
    try:
        return os.fstat(file).st_ino
    except OSError:
        return None


def free_file() -> int:
    """Return the lowest file descriptor that is not in use."""
    file = os.open(os.devnull, os.O_RDONLY | os.O_CLOEXEC)
    os.close(file)
    return file
