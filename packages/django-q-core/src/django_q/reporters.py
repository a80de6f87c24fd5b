"""Error reporters, which report failures of tasks to services such as Sentry."""

from __future__ import annotations

import threading
from contextlib import nullcontext
from inspect import Parameter, signature
from typing import TYPE_CHECKING, Any, Final, Protocol

from django_q.brokers.process_local import ProcessLocal
from django_q.context import current_package, current_task, running
from django_q.functions import is_known, resolve
from django_q.log import messages as log
from django_q.plugins import Registry
from django_q.settings import current_settings
from django_q.text import text_of, type_name
from django_q.tracing import trace_id

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping

    from django_q.settings import ClusterSettings


class Reporter(Protocol):
    """Class that a distribution offers in the entry point group `djangoq.errorreporters`.

    The name of the entry point is the key in `Q_CLUSTER["error_reporter"]`. Each worker, and each other process that
    reports a failure, creates one instance, with the dictionary of that key as keyword arguments.

    It may have a method `flush(seconds: float)`, which waits until all reports are sent, for at most so many seconds.
    It is called before a process ends.
    """

    def report(self) -> None:
        """Report the exception that is being handled, `sys.exc_info()`. It must not wait for a service.

        `django_q.context.current_task()` returns the task, and `django_q.reporters.task_details()` describes it. An
        exception of this method is logged, and the reporter is not called again in this process.
        """


REPORTERS: Final[Registry[Any]] = Registry("djangoq.errorreporters", "error reporter")
"""Registry of the installed error reporters."""

MAX_ARGUMENTS: Final = 50
"""Maximum number of arguments in a report."""

MAX_ARGUMENT_CHARACTERS: Final = 1_000
"""Maximum length of an argument in a report."""

FLUSH_SECONDS: Final = 2.0
"""Maximum time for which a process that ends waits until its reports are sent."""

REPORT_SECONDS: Final = 5.0
"""Maximum time for which a process of the cluster that is no worker waits for its reporters."""


class ErrorReporter:
    """Reports to all reporters of a cluster.

    A reporter that raises an exception is logged and removed. It affects neither tasks nor other reporters.
    """

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
            self._each(lambda reporter: reporter.report())
        else:
            handle(error, lambda: self._each(lambda reporter: reporter.report()))

    def flush(self, seconds: float) -> None:
        """Wait until all reports are sent.

        Args:
            seconds: maximum time for each reporter.
        """
        self._each(lambda reporter: flush(seconds) if (flush := getattr(reporter, "flush", None)) else None)

    def _each(self, call: Callable[[Reporter], object]) -> None:
        for reporter in [*self.targets]:
            try:
                call(reporter)
            except (Exception, SystemExit) as error:  # noqa: BLE001 - the client of a service may raise anything
                log.reporter.failed(reporter, error)
                self.targets.remove(reporter)


def task_details() -> dict[str, Any] | None:
    """Describe the current task for a report.

    Returns:
        Its id, name, function, attempt number, queue, group, schedule and the id of its trace, and its arguments as
        texts by name. Secrets are replaced as on Django's error pages, by `DEFAULT_EXCEPTION_REPORTER_FILTER`. None
        outside of tasks.
    """
    task, package = current_task(), current_package()
    if task is None or package is None:
        return None
    details = {
        "id": task.id,
        "name": task.name,
        "function": task.func,
        "attempt": task.attempt,
        "queue": task.queue or current_settings().list_key,
        "group": task.group,
        "schedule": task.schedule,
        "trace": trace_id(package),
        "arguments": described_arguments(package),
    }
    return {name: value for name, value in details.items() if value is not None}


def described_arguments(package: Mapping[str, Any]) -> dict[str, str]:
    """Return the arguments of a task as texts by name, without secrets."""
    args, kwargs = package.get("args"), package.get("kwargs")
    names = parameter_names(package.get("func"))
    named: dict[str, Any] = {}
    if isinstance(args, (tuple, list)):
        more = map("args[{}]".format, range(len(names), len(args)))
        named |= dict(zip([*names, *more], args, strict=False))
    if isinstance(kwargs, dict):
        named |= kwargs
    return {text_of(name, 100): described(name, value) for name, value in [*named.items()][:MAX_ARGUMENTS]}


def described(name: str, value: object) -> str:
    """Return the Python notation of an argument, without secrets."""
    from django.views.debug import get_default_exception_reporter_filter  # many modules, which few processes need

    try:
        shown = repr(get_default_exception_reporter_filter().cleanse_setting(name, value))
    except BaseException:  # noqa: BLE001 - the value's own code may raise anything
        shown = f"<unprintable {type_name(value)}>"
    return text_of(shown, MAX_ARGUMENT_CHARACTERS)


def parameter_names(func: object) -> list[str]:
    """Return the names of a function's positional parameters; none if this process has not imported it."""
    try:
        if isinstance(func, str):
            func = resolve(func) if is_known(func) else None
        if not callable(func):
            return []
        kinds = (Parameter.POSITIONAL_ONLY, Parameter.POSITIONAL_OR_KEYWORD)
        return [each.name for each in signature(func).parameters.values() if each.kind in kinds]
    except Exception:  # noqa: BLE001 - a callable of the project may describe itself by its own code
        return []


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
        _reporters(settings).report(error)
    except (Exception, SystemExit) as why:  # noqa: BLE001 - to raise an exception again may run its own code
        log.reporter.not_called(why)


def report_about(settings: ClusterSettings, error: BaseException, metadata: Mapping[str, Any], attempt: int) -> None:
    """Report an error about a task that does not run now. Reporters read it as the current task.

    Args:
        settings: settings of the cluster.
        error: the error.
        metadata: package of the task, or a part of it; without an id, the error is about no task.
        attempt: the attempt number.
    """
    with running(metadata, attempt) if "id" in metadata else nullcontext():
        report(error, settings)


def report_in_time(error: BaseException, settings: ClusterSettings, *, last: bool = False) -> None:
    """Report an error of a process that supervises or schedules, which must not wait: for up to `REPORT_SECONDS`.

    Reporters that take longer are logged and not called again in this process.

    Args:
        error: the error.
        settings: settings of the cluster.
        last: True if the process ends without `flush`: wait until the report is sent.
    """
    if not settings.error_reporter:
        return

    def call() -> None:
        report(error, settings)
        if last:
            flush(settings)

    thread = threading.Thread(target=call, name="error reporters", daemon=True)
    thread.start()
    thread.join(REPORT_SECONDS)
    if thread.is_alive():
        log.reporter.too_slow(REPORT_SECONDS)
        _made.get()[settings] = ErrorReporter([])


def start(settings: ClusterSettings) -> None:
    """Create the reporters of a process that executes tasks, so that they observe the first task, too.

    Args:
        settings: settings of the cluster.
    """
    if settings.error_reporter:
        _reporters(settings)


def flush(settings: ClusterSettings, seconds: float = FLUSH_SECONDS) -> None:
    """Wait until the reports of this process are sent, if it has created reporters.

    Args:
        settings: settings of the cluster.
        seconds: maximum time for each reporter.
    """
    if made := _made.get().get(settings):
        made.flush(seconds)


_made: Final[ProcessLocal[dict[ClusterSettings, ErrorReporter]]] = ProcessLocal(dict)
"""Reporters of this process by settings: threads and sockets of a client do not survive a fork."""


def _reporters(settings: ClusterSettings) -> ErrorReporter:
    """Return the reporters of this process, which are created on first use."""
    made = _made.get()
    if settings not in made:
        made[settings] = ErrorReporter.of(settings)
    return made[settings]


def __getattr__(name: str) -> Any:
    """Return `error_reporter`, the reporters of the current settings."""
    if name == "error_reporter":
        return ErrorReporter.of(current_settings())
    raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
