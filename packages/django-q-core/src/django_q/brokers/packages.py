"""Packages of a queue with their metadata, for people. Nothing of the project is imported or unpickled."""

from __future__ import annotations

from dataclasses import dataclass
from hashlib import sha256
from typing import TYPE_CHECKING, Any, Final, Self

from django_q.exceptions import UnreadablePackage
from django_q.text import error_line
from django_q.wire.metadata import peek

if TYPE_CHECKING:
    from collections.abc import Iterator, Mapping

    from django_q.brokers.base import Broker
    from django_q.brokers.listing import ListedPackage, PackageState
    from django_q.wire.codec import PackageCodec

ID_CHARACTERS: Final = 12
"""Length of the id of a package."""

PART_PACKAGES: Final = 50
"""Number of packages that are read together, because they may be large."""


@dataclass(frozen=True, kw_only=True)
class ReadPackage:
    """A package with its metadata."""

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
