"""What became of a task, on its way from the worker to the monitor."""

from __future__ import annotations

import pickle
from base64 import b64decode
from binascii import Error as Base64Error
from operator import attrgetter
from typing import TYPE_CHECKING, Any, Final, NamedTuple

from picklefield.fields import PickledObject, _ObjectWrapper, wrap_conflictual_object

from django_q.wire import fast_base64, pickling
from django_q.wire.metadata import Pickled

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping
    from datetime import datetime


class Outcome(NamedTuple):
    """One attempt at a task, ready to be saved, acknowledged and followed.

    The worker has pickled everything that belongs to the user, so the monitor never runs the
    user's code: a class that misbehaves when it is unpickled cannot harm other tasks' results.
    """

    id: str
    """The task's id."""
    name: str
    """The task's name, for people."""
    func: str
    """The function's dotted path, or a description of a callable that has none."""
    hook: str | None
    """The dotted path of the function that is called with the finished task."""
    args: str | None
    """The positional arguments, encoded."""
    kwargs: str | None
    """The keyword arguments, encoded."""
    result: str | None
    """What the function returned, or the text of its failure, encoded; None is None."""
    group: str | None
    """The label the task shares with others."""
    cluster: str | None
    """The queue whose cluster ran the task."""
    started: datetime
    """When the task was sent, not when it began to run."""
    stopped: datetime
    """When the attempt ended."""
    success: bool
    """Whether the function returned."""
    ack_id: Any = None
    """What the broker wants to hear to forget the package; None if it wants nothing."""
    ack_failure: bool | None = None
    """What the task's own `ack_failure` says: a failure is acknowledged like a success. None if nothing."""
    save: bool | None = None
    """What the task's own `save` option says; None when it says nothing."""
    cached: bool | int = False
    """Whether the result goes to the cache instead of the database, and for how many seconds."""
    finished: str | None = None
    """The whole finished task, signed: what the cache keeps. Only made when needed."""
    following: tuple[str, ...] = ()
    """Signed packages to send once this outcome is saved: the rest of a chain."""
    iter_count: int = 0
    """How many tasks belong to the iter this one is part of; 0 outside of iters."""
    iter_cached: bool | int = False
    """Where the collected result of the iter goes, as `cached` says for a task."""
    iter_options: Mapping[str, Any] | None = None
    """Options of the whole iter, as plain values: `task_name`, `group`, `save` and `callback`."""
    attempt: int = 1
    """Number of this attempt; the first is 1."""
    final: bool = False
    """True if the task must not be tried again, whatever `ack_failures` says."""
    follow_up: bool = False
    """True if a worker has to run a hook or receivers of `post_execute` before the package is acknowledged."""
    repeated: bool = False
    """True if the success was saved before: only what follows it is to be done."""
    error: str | None = None
    """The failure in one line, for the log."""
    schedule: str | None = None
    """The id of the schedule without overlap that waits for this task; None if none does."""


def encode(value: object) -> str | None:
    """Write a value as the pickled columns of the database keep it: None stays None.

    The text passes through a `PickledObjectField` unchanged, so who saves it need not know what
    it holds. What cannot be pickled raises what pickle raises.
    """
    if value is None:
        return None
    return encode_pickled(pickle.dumps(wrap_conflictual_object(value), protocol=pickle.HIGHEST_PROTOCOL))


def encode_pickled(data: bytes) -> str:
    """Return pickled data as the pickled columns of the database keep them."""
    text: str = PickledObject(fast_base64.encode(data))
    return text


class Unwrapped(Pickled):
    """Pickled data of an object that django-picklefield has wrapped."""

    def __reduce__(self) -> tuple[Callable[..., Any], tuple[Any, ...]]:
        return UNWRAP, (Pickled(self.data),)


UNWRAP: Final = attrgetter("_obj")
FRAME_BYTES: Final = 11
"""Length of what a pickle of protocol 4 and later begins with: the protocol and the length of the first frame."""
WRAPPER: Final = pickle.dumps(_ObjectWrapper(None), pickle.HIGHEST_PROTOCOL)[FRAME_BYTES:].partition(b"\x93")[0]
"""Bytes that follow when the object is wrapped: the name of the wrapper's class."""


def nested(text: str | None) -> object:
    """Return an object that, pickled within another one, is unpickled to what *text* encodes.

    The value is not unpickled here, and its pickle names functions of the standard library only.
    """
    if text is None:
        return None
    try:
        data = b64decode(text)
    except Base64Error as error:
        return f"{pickling.UNREADABLE}{error}"
    wrapped = data.startswith(WRAPPER, FRAME_BYTES)
    return Unwrapped(data) if wrapped else Pickled(data)


def decode(text: str | None) -> Any:
    """Read what `encode` wrote, raising what unpickling raises."""
    if text is None:
        return None
    value = pickling.loads(b64decode(text))
    return value._obj if isinstance(value, _ObjectWrapper) else value
