"""Package → outcome: runs one task, whatever it does."""

from __future__ import annotations

import builtins
import sys
from importlib import import_module
from types import CoroutineType
from typing import TYPE_CHECKING, Any, Final, cast

from django.utils import timezone

from django_q import reporters, signals, text
from django_q.context import running
from django_q.coroutines import SOURCE_FILES, run_coroutine
from django_q.exceptions import TimeoutException, UnknownFunction
from django_q.outcome_builder import OutcomeBuilder, SentArguments, next_link
from django_q.timeout import TaskTimer, timeout_of

if TYPE_CHECKING:
    from collections.abc import Callable, Coroutine

    from django_q.outcome import Outcome
    from django_q.package import TaskPackage
    from django_q.settings import ClusterSettings

__all__ = ["Executor", "next_link", "resolve"]

OWN_FILES: Final = SOURCE_FILES | {__file__}
"""Files of the frames before the first line of a task."""

MAX_KNOWN_FUNCTIONS: Final = 1024
"""Maximum number of functions whose paths a process remembers."""


class Executor:
    """Runs tasks one after another, in this process and this thread.

    Args:
        settings: of the cluster.
        timer: limits each task's time; None makes one that leaves no trace in the caller's process.
    """

    def __init__(self, settings: ClusterSettings, timer: TaskTimer | None = None) -> None:
        self.settings = settings
        self.builder = OutcomeBuilder(settings, self._failure)
        self.codec = self.builder.codec
        self.timer = timer or TaskTimer()
        self.imported: Callable[[], None] | None = None
        """Called when the module of a function was imported; by default nothing is."""
        self.exception: BaseException | None = None
        """What the last task raised."""

    def execute(self, package: TaskPackage, *, ack_id: Any = None, attempt: int = 1) -> Outcome:
        """Run one task.

        Args:
            package: verified and unpickled; the task may change its arguments, nothing else of it.
            ack_id: what the broker acknowledges the delivery by.
            attempt: number of this attempt; the first is 1.

        Returns:
            The outcome, a failure if the task raised anything at all; nothing is raised.
        """
        self.exception = None
        with running(package, attempt):
            sent = None
            try:
                sent = SentArguments.of(package)
                func = self._resolve(package["func"])
                signals.emit(signals.pre_execute, func=func, task=package)
                success, result = True, self._call(func, package)
            except BaseException as error:  # noqa: BLE001 - SystemExit and KeyboardInterrupt are its failure too
                success, result = False, self._failure(error)
            finished = dict(package, result=result, success=success, stopped=timezone.now())
            signals.emit(signals.post_execute_in_worker, func=package["func"], task=finished)
            try:
                return self.builder.build(finished, ack_id=ack_id, attempt=attempt, sent=sent)
            except BaseException as error:  # noqa: BLE001 - describing a result runs its own code
                reason = f"The outcome of the task cannot be described: {text.error_line(error)}"
                without = {**package, "args": (), "kwargs": {}}
                return self.builder.failed(without, reason, ack_id=ack_id, attempt=attempt, final=success)

    def _resolve(self, func: str | Callable[..., Any]) -> Callable[..., Any]:
        """Find the function; to import its module has a limit of its own and does not count against the timeout."""
        if not isinstance(func, str) or is_known(func):
            return resolve(func)
        with self.timer.running(self.settings.import_timeout, f"Importing {func!r} took longer than import_timeout"):
            found = resolve(func)
        if self.imported is not None:
            self.imported()
        return found

    def _call(self, func: Callable[..., Any], package: TaskPackage) -> Any:
        with self.timer.running(timeout_of(package, self.settings)):
            result = func(*package.get("args", ()), **package.get("kwargs", {}))
            if type(result) is CoroutineType:  # isinstance() would run the result's own code
                result = run_coroutine(cast("Coroutine[Any, Any, Any]", result))
        if self.timer.fired:
            raise TimeoutException("Task exceeded maximum timeout value and swallowed the exception that told it so")
        return result

    def _failure(self, error: BaseException) -> str:
        self.exception = error
        reporters.report(error, self.settings)
        return text.bounded(f"{text.sentence_of(error)} : {_traceback(error)}", text.MAX_TEXT_CHARACTERS)


def resolve(func: str | Callable[..., Any]) -> Callable[..., Any]:
    """Find the function that a package names.

    Args:
        func: a dotted path, or the callable itself.

    Raises:
        UnknownFunction: there is nothing callable of that name; says what was tried.
    """
    if not isinstance(func, str):
        return func
    if (known := _KNOWN.get(func)) is not None:
        return known
    if len(_KNOWN) >= MAX_KNOWN_FUNCTIONS:
        _KNOWN.clear()
    return _KNOWN.setdefault(func, _locate(func))


def is_known(path: str) -> bool:
    """Return whether a function was resolved before in this process, so that nothing needs to be imported."""
    return path in _KNOWN


_KNOWN: dict[str, Callable[..., Any]] = {}


def _locate(path: str) -> Callable[..., Any]:
    found = _find(path)
    if found is None:
        raise UnknownFunction(
            f"Function {path!r} is not defined. {_how_far(path)} Deploy the code that defines it where the cluster "
            "runs, restart the cluster, or correct the path."
        )
    if not callable(found):
        raise UnknownFunction(f"{path!r} is a {type(found).__name__} and cannot be called: name a function.")
    return found


def _find(path: str) -> Any:
    """What has this path: a module, or what is in one or built in; None if nothing has it."""
    names = [name for name in path.split(".") if name]
    found: Any = builtins
    holds_modules = True
    for length, name in enumerate(names, 1):
        module = _module(path, ".".join(names[:length])) if holds_modules else None
        holds_modules = hasattr(module, "__path__")
        try:
            found = getattr(found, name) if module is None else module
        except AttributeError:
            return None
    return found


def _module(path: str, name: str) -> Any:
    """The module of that name on the way to *path*; None if there is none."""
    try:
        return import_module(name)
    except BaseException as error:  # whatever a module does when it is imported, it is the task's failure
        if isinstance(error, ImportError) and error.name == name and name not in sys.modules:
            return None
        if isinstance(error, TimeoutException):
            raise
        raise UnknownFunction(f"Function {path!r} cannot be imported: {text.one_line(error)}") from error


def _how_far(path: str) -> str:
    parts = path.split(".")
    for length in range(len(parts) - 1, 0, -1):
        if _find(".".join(parts[:length])) is not None:
            return f"{'.'.join(parts[:length])!r} exists, but has no {parts[length]!r}."
    return f"No module named {parts[0]!r}."


def _traceback(error: BaseException) -> str:
    """Format a traceback from the task's first line on: how the task was called is not its author's concern."""
    place = BaseException.__dict__["__traceback__"].__get__(error)  # without the exception's own code
    while place is not None and place.tb_frame.f_code.co_filename in OWN_FILES:
        place = place.tb_next
    return text.traceback_of(error, place)
