"""Dead letters of a queue, with their metadata."""

from __future__ import annotations

from dataclasses import dataclass
from hashlib import sha256
from typing import TYPE_CHECKING, Any, Final, Self

from django_q.brokers.listing import PackageState
from django_q.exceptions import UnreadablePackage
from django_q.text import error_line
from django_q.wire.codec import PackageCodec
from django_q.wire.metadata import peek

if TYPE_CHECKING:
    from collections.abc import Iterator, Mapping

    from django_q.brokers.base import Broker
    from django_q.brokers.listing import ListedPackage

ID_CHARACTERS: Final = 12
"""Length of the id of a package."""

MAX_DEAD_LETTERS: Final = 1_000
"""Maximum number of dead letters that are listed: the oldest ones."""

PART_PACKAGES: Final = 50
"""Number of packages that are read together, because they may be large."""


@dataclass(frozen=True, kw_only=True)
class ReadPackage:
    """A package with its metadata. Nothing of the project is imported or unpickled."""

    id: str
    """Beginning of the hash of the package. Equal packages have the same id."""
    package: str
    """The signed package."""
    metadata: Mapping[str, Any]
    """Values that can be read without its arguments; empty if nothing can be read."""
    reason: str
    """Why it cannot be read; empty if its metadata can be read."""

    @classmethod
    def of(cls, package: str, codec: PackageCodec) -> Self:
        """Read a package. Its arguments are not unpickled.

        Args:
            package: the signed package.
            codec: codec of the cluster.
        """
        identity = id_of(package)
        try:
            return cls(id=identity, package=package, metadata=peek(codec, package), reason="")
        except UnreadablePackage as error:
            return cls(id=identity, package=package, metadata={}, reason=error_line(error))


class DeadLetter(ReadPackage):
    """A package that no worker could read. Without a `reason`, the reason is in its arguments or function."""


def id_of(package: str) -> str:
    """Return the id of a package."""
    return sha256(package.encode("utf-8", "surrogatepass")).hexdigest()[:ID_CHARACTERS]


def listed_in_parts(broker: Broker, state: PackageState, limit: int) -> Iterator[ListedPackage]:
    """Yield the first packages of a state, read in parts because they may be large.

    Args:
        broker: broker of the queue, which lists packages.
        state: the state.
        limit: maximum number.

    Raises:
        BrokerUnavailable: try again later.
    """
    for offset in range(0, limit, PART_PACKAGES):
        part = broker.list_packages(state, min(PART_PACKAGES, limit - offset), offset)
        yield from part
        if len(part) < PART_PACKAGES:
            return


def dead_packages(broker: Broker, limit: int = MAX_DEAD_LETTERS) -> Iterator[str]:
    """Yield the oldest dead letters, not decoded. A broker that lists packages is read in parts.

    Args:
        broker: broker of the queue.
        limit: maximum number.

    Raises:
        BrokerUnavailable: try again later.
    """
    if not broker.supports_listing:
        yield from broker.list_dead(limit)
        return
    yield from (listed.package for listed in listed_in_parts(broker, PackageState.DEAD, limit))


def dead_letters_of(broker: Broker, limit: int = MAX_DEAD_LETTERS) -> list[DeadLetter]:
    """Return the oldest dead letters of a queue. They stay as they are.

    Args:
        broker: broker of the queue.
        limit: maximum number.

    Raises:
        BrokerUnavailable: try again later.
    """
    codec = PackageCodec.of(broker.settings)
    return [DeadLetter.of(package, codec) for package in dead_packages(broker, limit)]


def requeue(broker: Broker, letter: DeadLetter) -> bool:
    """Queue a dead letter again. Return False if it is not a dead letter any more.

    It is queued before it is deleted, so that it is not lost if the process ends in between.
    """
    if not any(package == letter.package for package in dead_packages(broker)):
        return False
    broker.enqueue(letter.package)
    return broker.delete_dead(letter.package)
