"""The outcome of an attempt, which a worker passes to the monitor."""

from __future__ import annotations

from base64 import b64decode
from binascii import Error as Base64Error
from operator import attrgetter
from pickle import HIGHEST_PROTOCOL, dumps
from typing import TYPE_CHECKING, Any, Final, NamedTuple

from picklefield.fields import PickledObject, _ObjectWrapper, wrap_conflictual_object

from django_q.wire import fast_base64, pickling
from django_q.wire.metadata import Pickled

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping
    from datetime import datetime

    from django_q.wire.tracking import Attempted, NewRecord


class Outcome(NamedTuple):
    """Outcome of one attempt, with everything that the monitor needs to save it and to send what follows.

    The worker has pickled all values of the project, and the monitor does not unpickle them: a class that fails to
    unpickle cannot harm the results of other tasks.
    """

    id: str
    """Id of the task."""
    name: str
    """Name of the task."""
    func: str
    """Dotted path of the function, or a description of a callable without one."""
    hook: str | None
    """Dotted path of the function that is called with the finished task."""
    args: str | None
    """Positional arguments, encoded."""
    kwargs: str | None
    """Keyword arguments, encoded."""
    result: str | None
    """Return value of the function, or the text of its failure, encoded; None for a return value of None."""
    group: str | None
    """Label that the task shares with others."""
    cluster: str | None
    """Queue of the cluster that executed the task."""
    started: datetime
    """Time at which the task was sent, not the beginning of its execution."""
    stopped: datetime
    """End of the attempt."""
    success: bool
    """True if the function returned."""
    ack_id: Any = None
    """Receipt with which the broker acknowledges the package; None for a broker without receipts."""
    ack_failure: bool | None = None
    """Value of the task's option `ack_failure`: True acknowledges a failure like a success. None without the option."""
    save: bool | None = None
    """Value of the task's option `save`; None without the option."""
    cached: bool | int = False
    """True if the result is kept in the cache instead of the database, or the number of seconds for which it is."""
    finished: str | None = None
    """The finished task, signed as a result, for the cache and for its follow-up; None if it is not needed."""
    following: tuple[str, ...] = ()
    """Signed packages to send after this outcome is saved: the rest of a chain."""
    following_priority: int = 0
    """Priority of the packages in `following`."""
    following_record: NewRecord | None = None
    """The record of the package in `following`, if it is tracked."""
    iter_count: int = 0
    """Number of members of the task's iter; 0 if it belongs to none."""
    iter_cached: bool | int = False
    """Place of the iter's result, with the values of `cached`."""
    iter_options: Mapping[str, Any] | None = None
    """Options of the iter's result as plain values: `task_name`, `group`, `save` and `callback`."""
    attempt: int = 1
    """Number of this attempt; the first is 1."""
    final: bool = False
    """True if there is no further attempt, even without `ack_failures`."""
    follow_up: bool = False
    """True if a worker has to run a hook or receivers of `post_execute` before the package is acknowledged."""
    repeated: bool = False
    """True if the success was saved before, so that only the follow-up remains."""
    error: str | None = None
    """The failure in one line, for the log."""
    schedule: str | None = None
    """Id of the schedule without overlap that waits for this task; None if none does."""
    duration: float | None = None
    """Duration of the attempt in seconds; None if nothing was executed."""
    cancelled: bool = False
    """True if the task was cancelled."""
    attempted: Attempted | None = None
    """The attempt, if the task is tracked."""
    due: datetime | None = None
    """Earliest execution of a delayed task; None if there was no delay."""

    @property
    def waited(self) -> float | None:
        """Seconds from sending, or from the end of the delay, to the start of a first attempt; None for another one."""
        if self.duration is None or self.attempt > 1:
            return None
        since = self.started if self.due is None else max(self.started, self.due)
        return max((self.stopped - since).total_seconds() - self.duration, 0.0)


def encode(value: object) -> str | None:
    """Encode a value in the format of the database's pickled columns; None stays None.

    A `PickledObjectField` saves the text unchanged, so that the process that saves it does not unpickle it.

    Raises:
        Exception: raised by pickle, or by code of the value.
    """
    if value is None:
        return None
    return encode_pickled(dumps(wrap_conflictual_object(value), protocol=HIGHEST_PROTOCOL))


def encode_pickled(data: bytes) -> str:
    """Encode pickled data in the format of the database's pickled columns."""
    text: str = PickledObject(fast_base64.encode(data))
    return text


class Unwrapped(Pickled):
    """Pickled data of an object that django-picklefield has wrapped."""

    def __reduce__(self) -> tuple[Callable[..., Any], tuple[Any, ...]]:
        return UNWRAP, (Pickled(self.data),)


UNWRAP: Final = attrgetter("_obj")
FRAME_BYTES: Final = 11
"""Length of the beginning of a pickle of protocol 4 and later: the protocol and the length of the first frame."""
WRAPPER_BYTES: Final = dumps(_ObjectWrapper(None), HIGHEST_PROTOCOL)[FRAME_BYTES:].partition(b"\x93")[0]
"""Bytes that follow if the object is wrapped: the name of the wrapper's class."""


def nested(text: str | None) -> object:
    """Return an object whose pickle, within that of another object, is loaded as the value that *text* encodes.

    The value is not unpickled here. The pickle names functions of the standard library only.
    """
    if text is None:
        return None
    try:
        data = b64decode(text)
    except Base64Error as error:
        return f"{pickling.UNREADABLE}{error}"
    wrapped = data.startswith(WRAPPER_BYTES, FRAME_BYTES)
    return Unwrapped(data) if wrapped else Pickled(data)


def decode(text: str | None) -> Any:
    """Decode a text of `encode`.

    Raises:
        Exception: raised by pickle, or by code of the value.
    """
    if text is None:
        return None
    value = pickling.loads(b64decode(text))
    return value._obj if isinstance(value, _ObjectWrapper) else value
