"""State of the interpreter that is restored after each task, so that it cannot damage the next one."""

from __future__ import annotations

import _signal  # pyrefly: ignore[missing-import]
import asyncio
import decimal
import faulthandler
import gc
import os
import pickle
import signal
import socket
import sys
import time
import warnings
from operator import attrgetter
from typing import TYPE_CHECKING, Any, Final, cast

from django.utils import timezone

from django_q.cluster.system.files import copy_of, identities_of
from django_q.log.events import logger

if TYPE_CHECKING:
    from django_q.cluster.system.files import Identity

DAMAGING_EVENTS: Final = frozenset({"resource.prlimit", "resource.setrlimit", "sys.addaudithook"})
"""Audit events of Python after which a worker is replaced, because the change cannot be undone."""

STANDARD_FILES: Final = (0, 1, 2)
"""Descriptors of standard input, output and error."""

handler_of: Final = _signal.getsignal
"""Return the handler of a signal. `signal.getsignal` converts it to an enum, which takes ten times as long."""

change_mask: Final = _signal.pthread_sigmask
"""Change the blocked signals, and return the numbers of the signals that were blocked before."""


decimals_of: Final = attrgetter("prec", "rounding", "Emin", "Emax", "capitals", "clamp", "traps")
"""Return the settings of a decimal context."""


class Interpreter:
    """The state of a worker's interpreter between two tasks. Each part takes less than a microsecond."""

    def __init__(self) -> None:
        self.streams = sys.stdin, sys.stdout, sys.stderr
        self.copies = [(copy, number) for number in STANDARD_FILES if (copy := copy_of(number)) is not None]
        self.identities = self._identities()
        self.hooks = sys.gettrace(), sys.getprofile()
        self.recursion_limit = sys.getrecursionlimit()
        self.collects_garbage, self.thresholds = gc.isenabled(), gc.get_threshold()
        self.socket_timeout = socket.getdefaulttimeout()
        self.decimals = decimal.getcontext().copy()
        self.functions = needed_functions()
        self.keep_imported()
        self.priority = os.getpriority(os.PRIO_PROCESS, 0)
        self.blocked_signals = change_mask(signal.SIG_BLOCK, ())
        self.logging = logger.manager.disable, logger.disabled

    def keep_imported(self) -> None:
        """Accept changes of the warning filters by the import of a module."""
        self.warning_filters = list(warnings.filters)

    def restore(self) -> bool:
        """Undo the changes of a task.

        Returns:
            False if something cannot be restored, so that the worker should be replaced.
        """
        self._restore_settings()
        if change_mask(signal.SIG_BLOCK, ()) != self.blocked_signals:
            change_mask(signal.SIG_SETMASK, self.blocked_signals)
        sys.stdin, sys.stdout, sys.stderr = self.streams
        is_whole = all([self._restore_functions(), self._leave_loop(), self._restore_files()])
        if any(map(is_closed, self.streams)):
            self._drop_closed_streams()
            return False
        return is_whole and os.getpriority(os.PRIO_PROCESS, 0) == self.priority

    def close(self) -> None:
        """Close the copies of the standard files."""
        for copy, _ in self.copies:
            os.close(copy)
        self.copies = []

    def _restore_settings(self) -> None:
        trace, profile = self.hooks
        if sys.gettrace() is not trace or sys.getprofile() is not profile:
            sys.settrace(trace)
            sys.setprofile(profile)
        if sys.getrecursionlimit() != self.recursion_limit:
            sys.setrecursionlimit(self.recursion_limit)
        if gc.isenabled() != self.collects_garbage:
            (gc.enable if self.collects_garbage else gc.disable)()
        if gc.get_threshold() != self.thresholds:
            gc.set_threshold(*self.thresholds)
        if socket.getdefaulttimeout() != self.socket_timeout:
            socket.setdefaulttimeout(self.socket_timeout)
        if decimals_of(decimal.getcontext()) != decimals_of(self.decimals):
            decimal.setcontext(self.decimals.copy())
        if warnings.filters != self.warning_filters:
            cast("list[Any]", warnings.filters)[:] = self.warning_filters
        faulthandler.cancel_dump_traceback_later()
        logger.manager.disable, logger.disabled = self.logging

    def _restore_functions(self) -> bool:
        """Undo the replacement of functions that the worker needs.

        Returns:
            False if one was replaced. A library that freezes the time also replaces functions in other modules.
        """
        if needed_functions() == self.functions:
            return True
        time.time, time.monotonic, timezone.now, pickle.dumps, pickle.loads = self.functions
        return False

    @staticmethod
    def _leave_loop() -> bool:
        """Leave an event loop that a task has marked as running, because the ORM refuses calls in one.

        Returns:
            False if there was one.
        """
        if asyncio._get_running_loop() is None:
            return True
        asyncio._set_running_loop(None)
        return False

    def has_copies(self) -> bool:
        """Return True if the copies of the standard files are the original ones. A task may have replaced them."""
        return self._identities() == self.identities

    def _identities(self) -> list[Identity | None]:
        return identities_of([copy for copy, _ in self.copies])

    def _restore_files(self) -> bool:
        """Open the standard files again, which a task may have closed or replaced.

        Returns:
            False if the task has closed the copies.
        """
        try:
            for copy, number in self.copies:
                os.dup2(copy, number)
        except OSError:
            return False
        return True

    def _drop_closed_streams(self) -> None:
        """Remove closed streams, so that logging skips them. Its error message would end the worker before it stops."""
        sys.stdin, sys.stdout, sys.stderr = (None if is_closed(each) else each for each in self.streams)  # type: ignore[assignment]


def needed_functions() -> tuple[Any, ...]:
    """Return functions that a worker needs and that tests of projects like to replace."""
    return time.time, time.monotonic, timezone.now, pickle.dumps, pickle.loads


def is_closed(stream: Any) -> bool:
    """Return True if a stream is closed or has lost its buffer, False if it is open or None."""
    try:
        return bool(getattr(stream, "closed", False))
    except ValueError:  # its buffer was detached
        return True
