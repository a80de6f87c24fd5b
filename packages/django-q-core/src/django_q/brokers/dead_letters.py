"""Dead letters of a queue, with their metadata."""

from __future__ import annotations

from typing import TYPE_CHECKING, Final

from django_q.brokers.listing import PackageState
from django_q.brokers.packages import ReadPackage, listed_in_parts
from django_q.wire.codec import PackageCodec

if TYPE_CHECKING:
    from collections.abc import Iterator

    from django_q.brokers.base import Broker

MAX_DEAD_LETTERS: Final = 1_000
"""Maximum number of dead letters that are listed: the oldest ones."""


class DeadLetter(ReadPackage):
    """A package that no worker could read. Without a `reason`, the reason is in its arguments or function."""


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
