"""Error reporters, which report failures of tasks to services such as Sentry."""

from __future__ import annotations

import os
from functools import lru_cache
from typing import TYPE_CHECKING, Any, Final, Protocol

from django_q.log import messages as log
from django_q.plugins import Registry
from django_q.settings import current_settings

if TYPE_CHECKING:
    from collections.abc import Callable

    from django_q.settings import ClusterSettings


class Reporter(Protocol):
    """Class that a distribution offers in the entry point group `djangoq.errorreporters`.

    The name of the entry point is the key in `Q_CLUSTER["error_reporter"]`. Each process that reports a failure creates
    one instance, with the dictionary of that key as keyword arguments.
    """

    def report(self) -> None:
        """Report the exception that is being handled, `sys.exc_info()`.

        `django_q.context.current_task()` returns its task.
        """


REPORTERS: Final[Registry[Any]] = Registry("djangoq.errorreporters", "error reporter")
"""Registry of the installed error reporters."""


class ErrorReporter:
    """Reports to all reporters of a cluster. Their own errors are logged, and do not affect tasks."""

    def __init__(self, reporters: list[Reporter]) -> None:
        self.targets = reporters

    @classmethod
    def of(cls, settings: ClusterSettings) -> ErrorReporter:
        """Create the reporters of the settings. One that cannot be created is logged and omitted."""
        made = (make_reporter(name, options) for name, options in settings.error_reporter.items())
        return cls([reporter for reporter in made if reporter is not None])

    def report(self, error: BaseException | None = None) -> None:
        """Report an error to all reporters.

        Args:
            error: the error; None for the exception that is being handled.
        """
        if not self.targets:
            return
        if error is None:
            self._report()
        else:
            handle(error, self._report)

    def _report(self) -> None:
        for reporter in self.targets:
            try:
                reporter.report()
            except (Exception, SystemExit) as error:  # noqa: BLE001 - the client of a service may raise anything
                log.reporter.failed(reporter, error)


def handle(error: BaseException, call: Callable[[], None]) -> None:
    """Call a function while an error that was not raised is being handled, so that `sys.exc_info()` returns it."""
    context = error.__context__
    try:
        raise error
    except type(error):
        error.__context__ = context
        call()


def make_reporter(name: str, options: Any) -> Reporter | None:
    """Create a reporter; log an error and return None if that fails.

    Args:
        name: name of its entry point.
        options: its keyword arguments.
    """
    try:
        reporter: Reporter = REPORTERS.load(name)(**options)
    except Exception as error:  # noqa: BLE001 - the client of a service may raise anything
        log.reporter.not_started(name, error)
        return None
    return reporter


def report(error: BaseException | None = None, settings: ClusterSettings | None = None) -> None:
    """Report a failure to the reporters of the settings, without raising an error.

    Args:
        error: the error; None for the exception that is being handled.
        settings: settings of the cluster; None for the current ones.
    """
    settings = settings or current_settings()
    if not settings.error_reporter:
        return
    try:
        _reporters(settings, os.getpid()).report(error)
    except (Exception, SystemExit) as why:  # noqa: BLE001 - to raise an exception again may run its own code
        log.reporter.not_called(why)


@lru_cache(maxsize=8)
def _reporters(settings: ClusterSettings, pid: int) -> ErrorReporter:
    """Create the reporters once in each process, because threads and sockets of a client do not survive a fork."""
    return ErrorReporter.of(settings)


def __getattr__(name: str) -> Any:
    """Return `error_reporter`, the reporters of the current settings."""
    if name == "error_reporter":
        return ErrorReporter.of(current_settings())
    raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
