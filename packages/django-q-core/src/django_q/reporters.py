"""Error reporters: services that are told of every failure of a task."""

from __future__ import annotations

import os
from functools import lru_cache
from typing import TYPE_CHECKING, Any, Final, Protocol

from django_q.log import logger
from django_q.plugins import Registry
from django_q.settings import current_settings
from django_q.text import error_line

if TYPE_CHECKING:
    from collections.abc import Callable

    from django_q.settings import ClusterSettings


class Reporter(Protocol):
    """What a distribution offers under the entry point group `djangoq.errorreporters`.

    The entry point's name is the key of `Q_CLUSTER["error_reporter"]`; the class is made with that key's dictionary as
    keyword arguments, once in each process that has something to report.
    """

    def report(self) -> None:
        """Tell the service of the exception that is being handled: `sys.exc_info()` has it.

        Which task it was, `django_q.context.current_task()` says.
        """


REPORTERS: Final[Registry[Any]] = Registry("djangoq.errorreporters", "error reporter")
"""The error reporters that are installed."""


class ErrorReporter:
    """All the reporters of a cluster as one; what they raise themselves is logged and harms no task."""

    def __init__(self, reporters: list[Reporter]) -> None:
        self.targets = reporters

    @classmethod
    def of(cls, settings: ClusterSettings) -> ErrorReporter:
        """Make the reporters that the settings ask for, without those that cannot be made."""
        made = (make_reporter(name, options) for name, options in settings.error_reporter.items())
        return cls([reporter for reporter in made if reporter is not None])

    def report(self, error: BaseException | None = None) -> None:
        """Tell every reporter.

        Args:
            error: what went wrong; None means the exception that is being handled.
        """
        if not self.targets:
            return
        if error is None:
            self._tell()
        else:
            handle(error, self._tell)

    def _tell(self) -> None:
        for reporter in self.targets:
            try:
                reporter.report()
            except (Exception, SystemExit):  # noqa: BLE001 - whatever the client of a service raises
                logger.exception("Error reporter %s failed; the task's outcome stands.", type(reporter).__name__)


def handle(error: BaseException, tell: Callable[[], None]) -> None:
    """Make an error the one that is being handled, though nobody raised it, and tell of it."""
    context = error.__context__
    try:
        raise error
    except type(error):
        error.__context__ = context
        tell()


def make_reporter(name: str, options: Any) -> Reporter | None:
    """Make one reporter; one that cannot be made is logged, and the others report all the same."""
    try:
        reporter: Reporter = REPORTERS.load(name)(**options)
    except Exception:  # noqa: BLE001 - whatever the client of a service raises
        logger.exception("Error reporter %r could not be started: correct Q_CLUSTER['error_reporter'].", name)
        return None
    return reporter


def report(error: BaseException | None = None, settings: ClusterSettings | None = None) -> None:
    """Report a failure to the services that the settings name; never raises.

    Args:
        error: what went wrong; None means the exception that is being handled.
        settings: of the cluster; None means the settings of this moment.
    """
    settings = settings or current_settings()
    if not settings.error_reporter:
        return
    try:
        _reporters(settings, os.getpid()).report(error)
    except (Exception, SystemExit) as why:  # noqa: BLE001 - to raise an exception again may run its own code
        logger.error("A failure cannot be reported: %s", error_line(why))


@lru_cache(maxsize=8)
def _reporters(settings: ClusterSettings, pid: int) -> ErrorReporter:
    """Make them once a process: a client's threads and sockets do not survive a fork."""
    return ErrorReporter.of(settings)


def __getattr__(name: str) -> Any:
    """Give `error_reporter`, the reporters of the settings as they are now."""
    if name == "error_reporter":
        return ErrorReporter.of(current_settings())
    raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
