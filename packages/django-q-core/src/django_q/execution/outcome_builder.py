"""Builds the `Outcome` of an attempt. It has plain values only, for any task, argument, result and exception."""

from __future__ import annotations

from datetime import date, datetime, time, timedelta
from datetime import timezone as fixed_zone
from decimal import Decimal
from math import isfinite
from types import MappingProxyType
from typing import TYPE_CHECKING, Any, Final, NamedTuple, Self, cast
from uuid import UUID

from django_q import clock, signals, tracing
from django_q.clock import sent_at
from django_q.exceptions import ResultNotPicklable
from django_q.functions import describe
from django_q.text import bounded, one_line, qualified_type_name, storable, text_of, truncated
from django_q.wire import pickling
from django_q.wire.codec import PackageCodec, ResultCodec
from django_q.wire.links import next_link, unusable_link
from django_q.wire.metadata import Pickled, is_priority
from django_q.wire.option_values import LABEL_CHARACTERS, PATH_CHARACTERS
from django_q.wire.options import WHOLE_OPTIONS
from django_q.wire.outcome import Outcome, encode, encode_pickled
from django_q.wire.package import is_member, own_ack_failure, waiting_schedule
from django_q.wire.tracking import Attempted, NewRecord

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping

    from django_q.settings import ClusterSettings
    from django_q.wire.package import TaskPackage

NO_ARGS: Final = encode(())
NO_KWARGS: Final = encode({})

OPTIONAL_KEYS: Final = frozenset(
    (
        *("ack_failure", "cached", "group", "hook", "iter_cached", "iter_count", "iter_options"),
        *("run_after", "save", "schedule"),
    )
)
"""Keys that few packages have, and from which optional fields of the outcome are built."""

NO_OPTIONS: Final[Mapping[str, Any]] = MappingProxyType({"group": None, "hook": None})
"""Optional fields of the outcome of a package that has none of these keys."""

NO_FOLLOWING: Final[Mapping[str, Any]] = MappingProxyType({})
"""Fields of the outcome about the next link, if there is none."""

IMMUTABLE_TYPES: Final = frozenset(
    {bool, bytes, complex, date, datetime, Decimal, fixed_zone, float, int, type(None), str, time, timedelta, UUID}
)
"""Types whose objects a task cannot change."""


class SentArguments(NamedTuple):
    """Arguments of a task, pickled before its execution, because the task may change them."""

    args: bytes
    kwargs: bytes

    @classmethod
    def of(cls, package: Mapping[str, Any]) -> Self | None:
        """Pickle the arguments of a package; None if the task cannot change them.

        An argument that only its sender can pickle is replaced by its text, so that the task can be executed.
        """
        args, kwargs = package.get("args", ()), package.get("kwargs", {})
        are_immutable = IMMUTABLE_TYPES.issuperset
        if are_immutable(map(type, args)) and (not kwargs or are_immutable(map(type, kwargs.values()))):
            return None
        try:
            return cls(*(pickling.dumps(each) for each in (args, kwargs)))
        except BaseException:  # noqa: BLE001 - pickling runs the arguments' own code
            plain = tuple(map(picklable, args)), {key: picklable(value) for key, value in kwargs.items()}
            return cls(*(pickling.dumps(each) for each in plain))


class OutcomeBuilder:
    """Builds the outcomes of one cluster.

    Args:
        settings: of the cluster.
        fail: called with the exception if a result cannot be pickled; reports it, and returns the text of the failure.
    """

    def __init__(self, settings: ClusterSettings, fail: Callable[[BaseException], str] = text_of) -> None:
        self.settings = settings
        self.codec = PackageCodec.of(settings)
        self.result_codec = ResultCodec.of(settings)
        self.fail = fail

    def build(
        self,
        finished: dict[str, Any],
        *,
        ack_id: Any = None,
        attempt: int = 1,
        sent: SentArguments | None = None,
        final: bool = False,
        duration: float | None = None,
    ) -> Outcome:
        """Build the outcome of an attempt.

        Args:
            finished: the package with `result`, `success` and `stopped`. If the result cannot be pickled, `success` and
                `result` are changed.
            ack_id: receipt of the delivery; None if there is none.
            attempt: number of the attempt.
            sent: the arguments before the execution; None if they cannot have changed.
            final: True if a failure must not be executed again.
            duration: duration of the attempt in seconds; None if nothing was executed.
        """
        returned = finished["success"]
        finished["attempt_count"] = attempt
        options = NO_OPTIONS if OPTIONAL_KEYS.isdisjoint(finished) else self._options(finished)
        follow_up = bool(options["hook"]) or signals.has_receivers(signals.post_execute)
        text = self._signed(finished, sent) if follow_up or options.get("cached") else None
        signed_success = finished["success"]
        keep = bool(finished.get("track")) or self._is_kept(options)
        args, kwargs, result = self._columns(finished, sent, keep=keep)
        success = finished["success"]
        if text is not None and success != signed_success:  # the database cannot store the result
            text = self._signed(finished, sent)
        following = self._following(finished) if success and finished.get("chain") else NO_FOLLOWING
        return Outcome(
            id=label_of(finished["id"]) or "",
            name=label_of(finished["name"]) or "",
            func=label_of(describe(finished["func"]), PATH_CHARACTERS) or "",
            args=args,
            kwargs=kwargs,
            result=result,
            cluster=self.settings.list_key,
            started=moment_of(finished.get("started")),
            stopped=moment_of(finished.get("stopped")),
            success=success,
            ack_id=ack_id,
            finished=text,
            **following,
            follow_up=follow_up,
            attempt=attempt,
            final=final or (returned and not success),
            error=None if success else self._error_line(finished),
            duration=duration,
            **options,
        )

    def _options(self, finished: Mapping[str, Any]) -> Mapping[str, Any]:
        """Return the optional fields of the outcome, as plain values."""
        hook = finished.get("hook")
        member = is_member(finished.get("iter_count"), finished.get("group"))
        return {
            "ack_failure": flag_of(own_ack_failure(finished)),
            "due": sent_at(finished["run_after"]) if finished.get("run_after") else None,
            "cached": not member and seconds_of(finished.get("cached")),
            "group": label_of(finished.get("group")),
            "hook": None if hook is None else label_of(describe(hook), PATH_CHARACTERS),
            "iter_cached": seconds_of(finished.get("iter_cached")),
            "iter_count": count_of(finished.get("iter_count")),
            "iter_options": whole_options_of(finished.get("iter_options")) if member else None,
            "save": flag_of(finished.get("save")),
            "schedule": waiting_schedule(finished),
        }

    def _error_line(self, finished: Mapping[str, Any]) -> str:
        return one_line(text_of(finished["result"]).partition(" : ")[0])

    def _is_kept(self, options: Mapping[str, Any]) -> bool:
        """Return True if a success with these options is saved in the database."""
        if is_member(options.get("iter_count"), options["group"]):
            return True
        if options.get("cached"):
            return False
        save = options.get("save")
        return self.settings.save_limit >= 0 if save is None else save

    def _columns(self, finished: dict[str, Any], sent: SentArguments | None, *, keep: bool) -> tuple[str | None, ...]:
        if finished["success"] and not keep:
            return None, None, None
        try:
            result = encode(finished["result"])
        except BaseException as error:  # noqa: BLE001 - pickling runs methods of the result
            self._replace_unpicklable(finished, error)
            result = encode(finished["result"])
        if sent is not None:
            return encode_pickled(sent.args), encode_pickled(sent.kwargs), result
        args, kwargs = finished.get("args", ()), finished.get("kwargs", {})
        try:
            return NO_ARGS if args == () else encode(args), NO_KWARGS if kwargs == {} else encode(kwargs), result
        except BaseException:  # noqa: BLE001 - the package was not made by async_task
            return encode(picklable(args)), encode(picklable(kwargs)), result

    def _signed(self, finished: dict[str, Any], sent: SentArguments | None) -> str:
        original = {} if sent is None else {"args": Pickled(sent.args), "kwargs": Pickled(sent.kwargs)}
        try:
            return self.result_codec.dumps(finished | original)
        except BaseException as error:  # noqa: BLE001 - as above
            self._replace_unpicklable(finished, error)
        try:
            return self.result_codec.dumps(finished | original)
        except BaseException:  # noqa: BLE001 - a receiver added another value that cannot be pickled
            return self.result_codec.dumps({key: picklable(value) for key, value in (finished | original).items()})

    def _replace_unpicklable(self, finished: dict[str, Any], cause: BaseException) -> None:
        """Change a success whose result cannot be pickled into a failure with the reason."""
        error = ResultNotPicklable(
            f"The task returned a {qualified_type_name(finished['result'])}, which cannot "
            f"be pickled ({one_line(cause)}): return plain values, or send it with save=False."
        )
        error.__cause__ = cause
        finished["success"], finished["result"] = False, self.fail(error)

    def failed(
        self,
        package: Mapping[str, Any],
        reason: str,
        *,
        ack_id: Any = None,
        attempt: int = 1,
        final: bool = False,
        worker: str | None = None,
        exception_class: str | None = None,
    ) -> Outcome:
        """Build the failure of an attempt that has no outcome.

        Args:
            package: metadata, as `peek` returns them.
            reason: the cause, as a sentence.
            ack_id: as of `build`.
            attempt: as of `build`.
            final: as of `build`.
            worker: name of the worker that has started the attempt; None if none has, or if it is not known.
            exception_class: dotted path of the class of the exception; None if there is none.
        """
        finished = {**package, "result": text_of(reason), "success": False, "stopped": clock.now()}
        outcome = self.build(finished, ack_id=ack_id, attempt=attempt, final=final)
        if not package.get("track"):
            return outcome
        return outcome._replace(attempted=Attempted(worker, None, exception_class, text_of(reason)))

    def _following(self, finished: dict[str, Any]) -> Mapping[str, Any]:
        """Return the fields of the outcome about the next link of a chain."""
        try:
            return self._fields_of_link(next_link(finished))
        except Exception:  # noqa: BLE001 - an older producer, or a receiver, wrote the link
            # A worker fails this link, like any link whose function does not exist.
            return self._fields_of_link(unusable_link(finished))

    def _fields_of_link(self, link: TaskPackage) -> Mapping[str, Any]:
        with tracing.sending([link], link.get("cluster") or self.settings.list_key, self.settings):
            signed = self.codec.dumps(link)
        return {
            "following": (signed,),
            "following_priority": priority if is_priority(priority := link.get("priority")) else 0,
            "following_record": NewRecord.of(link, self.settings.list_key) if link.get("track") else None,
        }


def label_of(value: object, length: int = LABEL_CHARACTERS) -> str | None:
    """Return a label as plain text that fits its column; None stays None."""
    if type(value) is str and len(value) <= length and value.isascii() and "\0" not in value:
        return value
    if value is None:
        return None
    return truncated(storable(str.__str__(value)) if isinstance(value, str) else text_of(value), length)


def moment_of(value: object) -> datetime:
    """Return a datetime; the present time for any other value."""
    return cast("datetime", value) if issubclass(type(value), datetime) else clock.now()


def flag_of(value: object) -> bool | None:
    """Return a flag; None stays None."""
    return None if value is None else value is True or value == 1


def seconds_of(value: object) -> Any:
    """Return the option `cached`: True, a number of seconds, or False for any other value."""
    if value is True:
        return True
    return value if isinstance(value, (int, float)) and isfinite(value) and value > 0 else False


def whole_options_of(value: object) -> dict[str, Any] | None:
    """Return the options of the collated task as plain values; None for any other value."""
    if not isinstance(value, dict):
        return None
    given = {name: value[name] for name in WHOLE_OPTIONS if value.get(name) is not None}
    return {name: flag_of(each) if name == "save" else label_of(each, PATH_CHARACTERS) for name, each in given.items()}


def count_of(value: object) -> int:
    """Return a count; 0 for any other value."""
    return value if type(value) is int and value > 0 else 0


def picklable(value: object) -> object:
    """Return a value, or its text if it cannot be pickled."""
    try:
        pickling.dumps(value)
    except BaseException:  # noqa: BLE001 - pickling runs methods of the value
        return bounded(text_of(value), LABEL_CHARACTERS)
    return value
