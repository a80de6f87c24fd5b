"""Restores the state of a worker after each task, so that a task cannot damage the next one."""

from __future__ import annotations

import os
import signal
import sys
import time
from contextvars import copy_context
from multiprocessing import current_process
from typing import TYPE_CHECKING, Any, Final

from django.urls import get_script_prefix, get_urlconf, set_script_prefix, set_urlconf
from django.utils import timezone, translation

from django_q.cluster.system.files import free_file, identities_of
from django_q.cluster.system.interpreter import DAMAGING_EVENTS, Interpreter, handler_of
from django_q.exceptions import DjangoQError
from django_q.log import messages as log

if TYPE_CHECKING:
    from collections.abc import Iterable

RESTORED_EVENTS: Final = frozenset({"os.chdir", "os.putenv", "os.unsetenv"})
"""Audit events after which environment and working directory are restored.

See https://docs.python.org/3/library/audit_events.html."""

SIGNALS: Final = (
    *(signal.SIGINT, signal.SIGTERM, signal.SIGCHLD, signal.SIGALRM),
    *(signal.SIGHUP, signal.SIGUSR1, signal.SIGUSR2, signal.SIGURG),
    *(signal.SIGQUIT, signal.SIGPIPE, signal.SIGPROF, signal.SIGVTALRM),
)
"""Signals whose handlers are restored. A timer that a task leaves behind calls the handler of `TaskTimer`."""

MAX_LEAKED_FILES: Final = 200
"""Maximum number of file descriptors that tasks leave open before their worker is replaced."""


class WorkerDamaged(DjangoQError):
    """A task has closed or replaced the descriptor to which its worker sends outcomes, so the worker must exit."""


class Baseline:
    """State of a worker between two tasks. Created once per process, before its first task.

    Environment and working directory are restored after an audit event only. Language, time zone and the prefix and
    configuration of URLs are restored after a change of a context variable only. Descriptors, signal handlers and the
    state of the interpreter are compared after each task.

    Args:
        files: descriptors that the worker needs. Without the first, it cannot send an outcome.
        has_hook: False if audit events are not noted. A hook stays for as long as its process.
    """

    def __init__(self, files: Iterable[int] = (), *, has_hook: bool = True) -> None:
        self.variables = os.environ
        self.environment = dict(os.environb)
        self.folder = os.getcwd()  # noqa: PTH109 - a path object costs a new process 100 KB
        self.umask = os.umask(0o022)
        os.umask(self.umask)
        self.handlers = {number: handler_of(number) for number in SIGNALS}
        self.files = tuple(files)
        self.identities = identities_of(self.files)
        self.first_free_file = free_file()
        self.interpreter = Interpreter()
        self.urls = get_script_prefix(), get_urlconf()
        self.context = copy_context()
        self.is_damaged = False
        """True if some state could not be restored, so that the worker should be replaced."""
        self.events: dict[str, Any] = {}
        """Audit events since the last restoration. The hook is a method of the dictionary: it runs no Python code."""
        if has_hook:
            sys.addaudithook(self.events.__setitem__)

    def keep_imported(self) -> None:
        """Accept changes of environment and warning filters by the import of a module, which is not repeated."""
        self.interpreter.keep_imported()
        if not RESTORED_EVENTS.isdisjoint(self.events):
            self.environment = dict(os.environb)

    def restore(self) -> None:
        """Undo the changes of a task. If that fails, `is_damaged` is True.

        Raises:
            WorkerDamaged: the worker cannot send the outcome, so it must exit.
        """
        if (identities := identities_of(self.files)) != self.identities:
            if identities[0] != self.identities[0]:
                raise WorkerDamaged
            self.is_damaged = True
        try:
            self._restore()
        except BaseException as error:  # noqa: BLE001 - the task's own code may run, and its outcome is still sent
            log.worker.not_restored(current_process().name, error)
            self.is_damaged = True

    def _restore(self) -> None:
        os.umask(self.umask)
        if self._has_other_context():
            translation.deactivate()
            timezone.deactivate()
            prefix, configuration = self.urls
            set_script_prefix(prefix)
            set_urlconf(configuration)
            self.context = copy_context()
        if not DAMAGING_EVENTS.isdisjoint(self.events):
            self.is_damaged = True
        os.environ = self.variables  # noqa: B003 - a task may have replaced the object
        if not RESTORED_EVENTS.isdisjoint(self.events):
            self._restore_environment()
        self.events.clear()
        for number, handler in self.handlers.items():
            if handler_of(number) is not handler and handler is not None:  # None: not set by Python
                signal.signal(number, handler)
        if not self.interpreter.restore():
            self.is_damaged = True

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
        time.tzset()
        try:
            os.chdir(self.folder)
        except OSError:  # the folder is gone
            self.is_damaged = True

    def close(self) -> None:
        """Close the copies of the standard files. Nothing can be restored afterwards."""
        self.interpreter.close()

    def has_leaked_files(self) -> bool:
        """Return True if tasks have left so many files open that the worker should be replaced."""
        try:
            return free_file() > self.first_free_file + MAX_LEAKED_FILES
        except OSError:  # no descriptor is free
            return True
