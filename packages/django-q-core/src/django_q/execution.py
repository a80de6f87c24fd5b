"""Package → outcome: runs one task, whatever it does."""

from __future__ import annotations

import asyncio
import builtins
import inspect
import sys
import traceback
from contextvars import copy_context
from functools import lru_cache
from importlib import import_module
from typing import TYPE_CHECKING, Any

from django.utils import timezone

from django_q import reporters, signals
from django_q.clock import real_time_loop
from django_q.context import running
from django_q.exceptions import ResultNotPicklable, TimeoutException, UnknownFunction
from django_q.options import link_options
from django_q.outcome import Outcome, Restated, encode
from django_q.package import (
    INHERITED,
    describe,
    link_of,
    new_package,
    next_id,
    own_ack_failure,
)
from django_q.signing import PackageCodec
from django_q.timeout import TaskTimer, timeout_of

if TYPE_CHECKING:
    from collections.abc import Callable

    from django_q.package import TaskPackage
    from django_q.settings import ClusterSettings

NO_ARGS, NO_KWARGS = encode(()), encode({})


class Executor:
    """Runs tasks one after another, in this process and this thread.

    Args:
        settings: of the cluster.
        timer: limits each task's time; None makes one that leaves no trace in the caller's process.
    """

    def __init__(self, settings: ClusterSettings, timer: TaskTimer | None = None) -> None:
        self.settings = settings
        self.codec = PackageCodec.of(settings)
        self.timer = timer or TaskTimer()
        self.exception: BaseException | None = None
        """What the last task raised."""
        self._runner: asyncio.Runner | None = None

    def execute(self, package: TaskPackage, *, ack_id: Any = None, attempt: int = 1) -> Outcome:
        """Run one task.

        Args:
            package: verified and unpacked; it is not changed.
            ack_id: what the broker wants to hear of it.
            attempt: the attempt number of its delivery.

        Returns:
            The outcome, a failure if the task raised anything at all; nothing is raised.
        """
        self.exception = None
        with running(package, attempt):
            try:
                func = resolve(package["func"])
                signals.emit(signals.pre_execute, func=func, task=package)
                success, result = True, self._call(func, package)
            except BaseException as error:  # noqa: BLE001 - SystemExit and KeyboardInterrupt are its failure too
                success, result = False, self._failure(error)
            finished = dict(package, result=result, success=success, stopped=timezone.now())
            if isinstance(result, Restated):
                finished |= result
            finished["attempt_count"] = attempt
            signals.emit(signals.post_execute_in_worker, func=package["func"], task=finished)
            return self._outcome(finished, ack_id)

    def died(
        self,
        package: TaskPackage,
        reason: str,
        *,
        error: BaseException,
        ack_id: Any = None,
        attempt: int = 1,
    ) -> Outcome:
        """Record a task whose worker did not live to do it.

        Args:
            package: verified and unpacked.
            reason: how it ended, as a sentence.
            error: the same as an exception, for error reporters.
            ack_id: what the broker wants to hear of it.
            attempt: the attempt number of its delivery.

        Returns:
            The failure.
        """
        self.exception = error
        with running(package, attempt):
            reporters.report(error, self.settings)
        finished = dict(package, result=reason, success=False, stopped=timezone.now(), attempt_count=attempt)
        return self._outcome(finished, ack_id)

    def restate(self, package: TaskPackage, restated: Restated) -> Outcome:
        """Give the outcome of a task that need not run, because others did."""
        return self._outcome(dict(package, stopped=timezone.now()) | restated | {"attempt_count": 1}, None)

    def _call(self, func: Callable[..., Any], package: TaskPackage) -> Any:
        with self.timer.running(timeout_of(package, self.settings)):
            result = func(*package.get("args", ()), **package.get("kwargs", {}))
            if inspect.iscoroutine(result):
                result = self._await(result)
        if self.timer.fired:
            raise TimeoutException("Task exceeded maximum timeout value and swallowed the exception that told it so")
        return result

    def _await(self, coroutine: Any) -> Any:
        if self._runner is None:
            self._runner = asyncio.Runner(loop_factory=real_time_loop)
        try:
            return self._runner.run(coroutine, context=copy_context())  # by default it would be the first task's
        except (TimeoutException, SystemExit, KeyboardInterrupt):
            self._runner.close()  # a loop that was left in the middle is not used again
            self._runner = None
            raise

    def _failure(self, error: BaseException) -> str:
        self.exception = error
        reporters.report(error, self.settings)
        return f"{_sentence(error)} : {_traceback(error)}"

    # the outcome

    def _outcome(self, finished: dict[str, Any], ack_id: Any) -> Outcome:
        text = self._signed(finished) if self._travels(finished) else None
        if finished["success"] and not self._wanted(finished):
            columns: tuple[str | None, ...] = (None, None, None)
        else:
            columns = self._columns(finished)
        success = finished["success"]  # known only now: a result that cannot be pickled has made it a failure
        hook = finished.get("hook")
        return Outcome(
            id=finished["id"],
            name=finished["name"],
            func=describe(finished["func"]),
            hook=hook if hook is None or isinstance(hook, str) else describe(hook),
            args=columns[0],
            kwargs=columns[1],
            result=columns[2],
            group=finished.get("group"),
            cluster=self.settings.list_key,
            started=finished["started"],
            stopped=finished["stopped"],
            success=success,
            ack_id=ack_id,
            ack_failure=own_ack_failure(finished),
            save=finished.get("save"),
            cached=finished.get("cached", False),
            finished=text,
            following=self._following(finished) if success else (),
            iter_count=finished.get("iter_count", 0),
            iter_cached=finished.get("iter_cached", False),
            attempt=finished["attempt_count"],
            error=None if success else finished.get("error") or str(finished["result"]).partition(" : ")[0],
            gathered=finished.get("gathered"),
        )

    def _wanted(self, finished: dict[str, Any]) -> bool:
        """Whether the database will keep this success."""
        if finished.get("cached") or finished.get("iter_count"):
            return False
        save = finished.get("save")
        return self.settings.save_limit >= 0 if save is None else bool(save)

    def _travels(self, finished: dict[str, Any]) -> bool:
        """Whether somebody after the monitor needs the whole task."""
        return bool(
            finished.get("cached")
            or finished.get("iter_count")
            or finished.get("hook")
            or signals.is_heard(signals.post_execute)
        )

    def _columns(self, finished: dict[str, Any]) -> tuple[str | None, ...]:
        try:
            result = encode(finished["result"])
        except Exception as error:  # noqa: BLE001 - pickling runs the methods of whatever the task returned
            self._spoil(finished, error)
            result = encode(finished["result"])
        args, kwargs = finished.get("args", ()), finished.get("kwargs", {})
        return NO_ARGS if args == () else encode(args), NO_KWARGS if kwargs == {} else encode(kwargs), result

    def _signed(self, finished: dict[str, Any]) -> str:
        try:
            return self.codec.dumps(finished)
        except Exception as error:  # noqa: BLE001 - as above
            self._spoil(finished, error)
            return self.codec.dumps(finished)

    def _spoil(self, finished: dict[str, Any], cause: Exception) -> None:
        kind = type(finished["result"])
        error = ResultNotPicklable(
            f"The task returned a {kind.__module__}.{kind.__qualname__}, which cannot be pickled ({cause}): "
            "return plain values, or run it with save=False."
        )
        error.__cause__ = cause
        finished["success"], finished["result"] = False, self._failure(error)

    def _following(self, finished: dict[str, Any]) -> tuple[str, ...]:
        chain = finished.get("chain")
        if not chain:
            return ()
        return (self.codec.dumps(next_link(finished)),)


def next_link(finished: dict[str, Any]) -> TaskPackage:
    """Write down the link of a chain that follows a finished one.

    Its id follows from the finished link's: sent twice it is still one task. Options that its sender did not validate
    are normalised; impossible values stay, so that it is the link's own task that fails.

    Raises:
        TypeError: it is no link.
    """
    first, *rest = finished["chain"]
    func, args, kwargs = link_of(first)
    options = link_options(kwargs) | {key: finished[key] for key in INHERITED if key in finished}
    options |= {"chain": rest or None, "name": options.pop("task_name", None)}
    return new_package(func, args, kwargs, task_id=next_id(finished["id"]), **options)


def resolve(func: str | Callable[..., Any]) -> Callable[..., Any]:
    """Find the function that a package names.

    Args:
        func: a dotted path, or the callable itself.

    Raises:
        UnknownFunction: there is nothing callable of that name; says what was tried.
    """
    return _locate(func) if isinstance(func, str) else func


@lru_cache(maxsize=1024)
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
        raise UnknownFunction(f"Function {path!r} cannot be imported: {error}") from error


def _how_far(path: str) -> str:
    parts = path.split(".")
    for length in range(len(parts) - 1, 0, -1):
        if _find(".".join(parts[:length])) is not None:
            return f"{'.'.join(parts[:length])!r} exists, but has no {parts[length]!r}."
    return f"No module named {parts[0]!r}."


def _sentence(error: BaseException) -> str:
    return str(error) or type(error).__name__


def _traceback(error: BaseException) -> str:
    """Where it happened, from the task's first line on: how the task was called is not its author's affair."""
    place = error.__traceback__
    while place is not None and place.tb_frame.f_code.co_filename == __file__:
        place = place.tb_next
    return "".join(traceback.format_exception(type(error), error, place or error.__traceback__)).strip()
