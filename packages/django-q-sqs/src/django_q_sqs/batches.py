"""Requests of ten: what SQS takes at once."""

from __future__ import annotations

from typing import TYPE_CHECKING, TypeVar

if TYPE_CHECKING:
    from collections.abc import Iterator, Sequence

T = TypeVar("T")

MOST = 10
"""How many messages one request carries."""


def tens(items: Sequence[T]) -> Iterator[Sequence[T]]:
    """The items, ten at a time."""
    for start in range(0, len(items), MOST):
        yield items[start : start + MOST]


def fitting(bodies: Sequence[str], limit: int) -> Iterator[list[str]]:
    """The bodies in order, at most ten and at most *limit* bytes at a time."""
    part: list[str] = []
    room = limit
    for body in bodies:
        size = size_of(body)
        if part and (len(part) == MOST or size > room):
            yield part
            part, room = [], limit
        part.append(body)
        room -= size
    if part:
        yield part


def size_of(body: str) -> int:
    """Bytes of a message, as SQS counts them."""
    return len(body.encode("utf-8", "surrogatepass"))
