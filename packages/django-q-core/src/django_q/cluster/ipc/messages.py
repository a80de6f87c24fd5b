"""Messages in the channels between the processes of a cluster."""

from __future__ import annotations

import enum
import struct
from datetime import UTC, datetime
from pickle import HIGHEST_PROTOCOL, dumps, loads
from typing import TYPE_CHECKING, Any, NamedTuple, TypeAlias

from django_q.wire.outcome import Outcome
from django_q.wire.tracking import Started

if TYPE_CHECKING:
    from collections.abc import Mapping

    from django_q.exceptions import TaskError

_MAX_ATTEMPT = 2**16 - 1
_HEAD = struct.Struct("<BQdH?H")


class Kind(enum.IntEnum):
    """Kind of a message: its first byte."""

    TASK = 1
    FOLLOW_UP = 2
    OUTCOME = 3
    UNREADABLE = 4
    DEATH = 5
    STOP = 6
    FOLLOWED_UP = 7
    RETURNED = 8
    STARTED = 9
    CANCEL = 10


class TaskMessage(NamedTuple):
    """Package for a worker, still signed and not unpickled."""

    number: int
    """Position among all tasks that this cluster has pushed, from 1."""
    leased: float
    """Start of its lease (`time.monotonic`, seconds); 0.0 if the broker has no leases."""
    ack_id: Any
    package: bytes
    attempt: int = 1
    """Attempt number of the delivery."""

    def pack(self) -> bytes:
        """Return the message as bytes."""
        plain = type(self.ack_id) is str  # most brokers: pickling the id would take longer than the rest
        ack = self.ack_id.encode() if plain else dumps(self.ack_id)
        attempt = min(self.attempt, _MAX_ATTEMPT)
        return _HEAD.pack(Kind.TASK, self.number, self.leased, attempt, plain, len(ack)) + ack + self.package

    @classmethod
    def unpack(cls, message: bytes) -> TaskMessage:
        """Return the message that `pack` has converted to bytes."""
        _, number, leased, attempt, plain, length = _HEAD.unpack_from(message)
        end = _HEAD.size + length
        ack = message[_HEAD.size : end]
        ack_id = ack.decode() if plain else loads(ack)
        return cls(number, leased, ack_id, message[end:], attempt)


class Unreadable(NamedTuple):
    """Package that no worker can read: a dead letter."""

    ack_id: Any
    package: bytes
    reason: str


class Death(NamedTuple):
    """Death of a worker, with its message in flight."""

    message: bytes
    """Its message in flight."""
    worker: str
    """Name of its process."""
    reason: str
    """Cause of its end, as a sentence."""
    interrupted: bool
    """True if the stop of the cluster ended it, so that the attempt is no failure of the task."""
    unpickling: bool = False
    """True if it ended while it unpickled the arguments: no other process may unpickle them."""
    looking_up: bool = False
    """True if the sentinel ended it while it looked up an earlier success: the task has not begun."""
    cancelled: bool = False
    """True if the sentinel ended it because its task was cancelled."""


class FollowUp(NamedTuple):
    """Work after a task is saved and before its package is acknowledged. A worker does it."""

    key: str
    """Key of the reply; empty if no reply is expected."""
    finished: str | None
    """The finished task, signed, if it has a hook or receivers of `post_execute`."""
    report: TaskError | None = None
    """Error of this project about a task, for the error reporters."""
    metadata: Mapping[str, Any] = {}
    """Metadata of that task."""
    attempt: int = 1
    """Number of the attempt that is reported."""


class FollowedUp(NamedTuple):
    """Reply of a worker: the follow-up has ended."""

    key: str
    """Key of the follow-up."""


class Cancel(NamedTuple):
    """Command to interrupt running tasks."""

    kind: str
    """Kind of the target: `task` or `group`."""
    target: str
    """Id of the task, or label of the group."""
    created: datetime
    """Time of the command. Tasks that were sent later are not interrupted."""


class Returned(NamedTuple):
    """Task that a worker could not begin. Its package is released and the delivery does not count as an attempt."""

    ack_id: Any
    pause: float = 0.0
    """Delay in seconds before the monitor releases the package; its lease is renewed meanwhile."""


Content: TypeAlias = "Outcome | Unreadable | Death | FollowUp | FollowedUp | Returned | Started | Cancel"
"""Content of a message that is no task."""

STOP = bytes([Kind.STOP])
"""Message that ends the process which receives it."""


def kind_of(message: bytes) -> int:
    """Return the `Kind` of any message."""
    return message[0]


def pack(kind: Kind, content: Content) -> bytes:
    """Return a message as bytes. Tasks have their own format, see `TaskMessage.pack`."""
    parts: list[Any] = [*content]
    if kind == Kind.OUTCOME:
        for index in _TIME_INDEXES:
            parts[index] = _plain_time(parts[index])
    return bytes([kind]) + dumps(parts, protocol=HIGHEST_PROTOCOL)


def unpack(message: bytes) -> Content:
    """Return the message that `pack` has converted to bytes."""
    kind, parts = message[0], loads(memoryview(message)[1:])
    if kind == Kind.OUTCOME:
        for index in _TIME_INDEXES:
            parts[index] = _datetime(parts[index])
    return _CONTENTS[kind]._make(parts)


_TIME_INDEXES = (Outcome._fields.index("started"), Outcome._fields.index("stopped"))


def _plain_time(moment: datetime) -> Any:
    """Return a UTC time as a number: pickling the time zone would take longer than the rest of an outcome."""
    return moment.timestamp() if moment.tzinfo is UTC else moment


def _datetime(plain: Any) -> datetime:
    return datetime.fromtimestamp(plain, UTC) if isinstance(plain, float) else plain


_CONTENTS: dict[int, Any] = {
    Kind.OUTCOME: Outcome,
    Kind.UNREADABLE: Unreadable,
    Kind.DEATH: Death,
    Kind.FOLLOW_UP: FollowUp,
    Kind.FOLLOWED_UP: FollowedUp,
    Kind.RETURNED: Returned,
    Kind.STARTED: Started,
    Kind.CANCEL: Cancel,
}
