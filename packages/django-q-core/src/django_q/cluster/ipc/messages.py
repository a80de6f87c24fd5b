"""What travels in the channels between the processes of a cluster."""

from __future__ import annotations

import enum
import pickle
import struct
from datetime import UTC, datetime
from typing import TYPE_CHECKING, Any, NamedTuple

from django_q.wire.outcome import Outcome

if TYPE_CHECKING:
    from collections.abc import Mapping

_MAX_ATTEMPT = 2**16 - 1
_HEAD = struct.Struct("<BQdH?H")


class Kind(enum.IntEnum):
    """What a message is."""

    TASK = 1
    FOLLOW_UP = 2
    OUTCOME = 3
    UNREADABLE = 4
    DEATH = 5
    STOP = 6
    FOLLOWED_UP = 7
    RETURNED = 8


class TaskMessage(NamedTuple):
    """A package on its way to a worker: still signed and unread."""

    number: int
    """Its place in the order of all tasks that this cluster pushed."""
    leased: float
    """When its lease began (`time.monotonic`, seconds); 0.0 when the broker gives no leases."""
    ack_id: Any
    package: bytes
    attempt: int = 1
    """Attempt number of the delivery."""

    def pack(self) -> bytes:
        """As bytes."""
        plain = type(self.ack_id) is str  # as nearly all are: to pickle one takes longer than all the rest
        ack = self.ack_id.encode() if plain else pickle.dumps(self.ack_id)
        attempt = min(self.attempt, _MAX_ATTEMPT)
        return _HEAD.pack(Kind.TASK, self.number, self.leased, attempt, plain, len(ack)) + ack + self.package

    @classmethod
    def unpack(cls, message: bytes) -> TaskMessage:
        """From what `pack` made."""
        _, number, leased, attempt, plain, length = _HEAD.unpack_from(message)
        end = _HEAD.size + length
        ack = message[_HEAD.size : end]
        ack_id = ack.decode() if plain else pickle.loads(ack)
        return cls(number, leased, ack_id, message[end:], attempt)


class Unreadable(NamedTuple):
    """A package that no worker can open."""

    ack_id: Any
    package: bytes
    reason: str


class Death(NamedTuple):
    """A worker is gone, and this is what it worked on."""

    message: bytes
    """Its message in flight."""
    worker: str
    """Its name."""
    reason: str
    """How it ended, as a sentence."""
    interrupted: bool
    """Whether the stop of the cluster ended it: then the task is not to blame."""
    unpickling: bool = False
    """True if it ended while it unpickled the arguments: nothing else may unpickle them."""
    looking_up: bool = False
    """True if the sentinel ended it while it looked up an earlier success: the task has not begun."""


class FollowUp(NamedTuple):
    """Work for a worker once a task is saved, before its package is acknowledged."""

    key: str
    """Key of the reply; empty if no reply is expected."""
    finished: str | None
    """The finished task, signed, if it has a hook or receivers of `post_execute`."""
    report: str | None = None
    """Reason for which the worker of a task died, for the error reporters."""
    metadata: Mapping[str, Any] = {}
    """Metadata of that task."""
    attempt: int = 1
    """Number of the attempt that is reported."""


class FollowedUp(NamedTuple):
    """A worker's reply: the follow-up has ended."""

    key: str
    """Of the follow-up."""


class Returned(NamedTuple):
    """A worker could not begin a task: its package is released, which is no attempt."""

    ack_id: Any
    pause: float = 0.0
    """Seconds for which the monitor keeps it, with its lease, before it releases it."""


STOP = bytes([Kind.STOP])
"""Tells whoever receives it to finish."""


def kind_of(message: bytes) -> int:
    """Return the `Kind` of any message."""
    return message[0]


def pack(kind: Kind, content: Outcome | Unreadable | Death | FollowUp | FollowedUp | Returned) -> bytes:
    """Any message but a task, as bytes."""
    parts: list[Any] = [*content]
    if kind == Kind.OUTCOME:
        for index in _TIME_INDEXES:
            parts[index] = _plain_time(parts[index])
    return bytes([kind]) + pickle.dumps(parts, protocol=pickle.HIGHEST_PROTOCOL)


def unpack(message: bytes) -> Outcome | Unreadable | Death | FollowUp | FollowedUp | Returned:
    """From what `pack` made."""
    kind, parts = message[0], pickle.loads(memoryview(message)[1:])
    if kind == Kind.OUTCOME:
        for index in _TIME_INDEXES:
            parts[index] = _datetime(parts[index])
    return _CONTENTS[kind]._make(parts)


_TIME_INDEXES = (Outcome._fields.index("started"), Outcome._fields.index("stopped"))


def _plain_time(moment: datetime) -> Any:
    """A moment as a number: Python takes longer to pickle the time zone UTC than all the rest of an outcome."""
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
}
