"""Dead letters of a queue, with their metadata."""

from __future__ import annotations

from dataclasses import dataclass
from hashlib import sha256
from typing import TYPE_CHECKING, Any, Final, Self

from django_q.exceptions import UnreadablePackage
from django_q.text import error_line
from django_q.wire.codec import PackageCodec
from django_q.wire.metadata import peek

if TYPE_CHECKING:
    from collections.abc import Mapping

    from django_q.brokers.base import Broker

ID_CHARACTERS: Final = 12
"""Length of the id of a dead letter."""

MAX_DEAD_LETTERS: Final = 1_000
"""Maximum number of dead letters that are listed: the oldest ones."""


@dataclass(frozen=True, kw_only=True)
class DeadLetter:
    """A package that no worker could read."""

    id: str
    """Beginning of the hash of the package. Equal packages have the same id."""
    package: str
    """The signed package."""
    metadata: Mapping[str, Any]
    """Values that can be read without its arguments; empty if nothing can be read."""
    reason: str
    """Why it cannot be read; empty if its metadata can be read, so that the reason is in its arguments or function."""

    @classmethod
    def of(cls, package: str, codec: PackageCodec) -> Self:
        """Read a dead letter. Its arguments are not unpickled.

        Args:
            package: the signed package.
            codec: codec of the cluster.
        """
        identity = sha256(package.encode("utf-8", "surrogatepass")).hexdigest()[:ID_CHARACTERS]
        try:
            return cls(id=identity, package=package, metadata=peek(codec, package), reason="")
        except UnreadablePackage as error:
            return cls(id=identity, package=package, metadata={}, reason=error_line(error))


def dead_letters_of(broker: Broker, limit: int = MAX_DEAD_LETTERS) -> list[DeadLetter]:
    """Return the oldest dead letters of a queue. They stay as they are.

    Args:
        broker: broker of the queue.
        limit: maximum number.

    Raises:
        BrokerUnavailable: try again later.
    """
    codec = PackageCodec.of(broker.settings)
    return [DeadLetter.of(package, codec) for package in broker.list_dead(limit)]


def requeue(broker: Broker, letter: DeadLetter) -> bool:
    """Queue a dead letter again. Return False if it is not a dead letter any more.

    It is queued before it is deleted, so that it is not lost if the process ends in between.
    """
    if letter.package not in broker.list_dead(MAX_DEAD_LETTERS):
        return False
    broker.enqueue(letter.package)
    return broker.delete_dead(letter.package)
