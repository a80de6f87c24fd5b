"""Requests of ten: what SQS takes at once."""

from __future__ import annotations

from typing import TYPE_CHECKING, TypeVar

if TYPE_CHECKING:
    from collections.abc import Iterator, Sequence

T = TypeVar("T")

MAX_BATCH_ENTRIES = 10
"""How many messages one request carries."""


def tens(items: Sequence[T]) -> Iterator[Sequence[T]]:
    """The items, ten at a time."""
    for start in range(0, len(items), MAX_BATCH_ENTRIES):
        yield items[start : start + MAX_BATCH_ENTRIES]


def fitting(bodies: Sequence[str], limit: int) -> Iterator[list[str]]:
    """The bodies in order, at most ten and at most *limit* bytes at a time."""
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
    """Bytes of a message, as SQS counts them."""
    return len(body.encode("utf-8", "surrogatepass"))
