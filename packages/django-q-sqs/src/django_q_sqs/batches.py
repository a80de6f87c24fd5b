"""Divides entries and message bodies into batches that SQS accepts."""

from __future__ import annotations

from typing import TYPE_CHECKING, TypeVar

if TYPE_CHECKING:
    from collections.abc import Iterator, Sequence

T = TypeVar("T")

MAX_BATCH_ENTRIES = 10
"""Maximum number of messages of one request."""


def entry_batches(items: Sequence[T]) -> Iterator[Sequence[T]]:
    """Yield batches of at most ten items."""
    for start in range(0, len(items), MAX_BATCH_ENTRIES):
        yield items[start : start + MAX_BATCH_ENTRIES]


def body_batches(bodies: Sequence[str], limit: int) -> Iterator[list[str]]:
    """Yield batches of at most ten message bodies, in order.

    Args:
        bodies: the bodies.
        limit: maximum size of a batch, in bytes.
    """
    part: list[str] = []
    room = limit
    for body in bodies:
        size = size_of(body)
        if part and (len(part) == MAX_BATCH_ENTRIES or size > room):
            yield part
            part, room = [], limit
        part.append(body)
        room -= size
    if part:
        yield part


def size_of(body: str) -> int:
    """Return the size of a message in bytes, as SQS counts them."""
    return len(body.encode("utf-8", "surrogatepass"))
