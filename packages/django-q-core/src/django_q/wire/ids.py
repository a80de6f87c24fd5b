"""Ids of tasks: 32 hexadecimal characters that begin with the time."""

from __future__ import annotations

import os
from string import hexdigits
from time import time_ns
from uuid import UUID, uuid5

from django_q.humanhash import name_of

_RANDOM_BITS = 0x0FFF3FFFFFFFFFFFFFFF
"""Mask of the random bits of an id. The milliseconds since 1970 precede them."""

_VERSION_4_BITS = 0x40008000000000000000
"""Bits that mark an id as a UUID of version 4."""

_TIME_DIGITS = 12
"""Number of hexadecimal digits of an id that contain its time."""


def new_id() -> str:
    """Create the id of a task: a UUID of 32 hexadecimal characters that begins with the time.

    Rows of tasks that were sent together are neighbours in the indexes of a large table, so that few pages are read
    and written. The layout is that of version 7 (RFC 9562, 5.7). The version number is 4, as in all editions.
    """
    number = time_ns() // 1_000_000 << 80 | int.from_bytes(os.urandom(10)) & _RANDOM_BITS | _VERSION_4_BITS
    return f"{number:032x}"


def is_id(text: str) -> bool:
    """Return True if a text has the form of a task's id."""
    return len(text) == 32 and set(text) <= set(hexdigits)


def next_id(task_id: str) -> str:
    """Derive the id of the next link of a chain. A link that is sent twice has the same id."""
    return _derived(task_id, "chain")


def member_id(iter_id: str, index: int) -> str:
    """Derive the id of a member of an iter.

    Args:
        iter_id: id of the iter.
        index: position of the member's arguments, from 0.
    """
    return _derived(iter_id, str(index))


def _derived(task_id: str, name: str) -> str:
    """Derive an id with the time of another one, so that both are neighbours in an index."""
    return task_id[:_TIME_DIGITS] + uuid5(UUID(task_id), name).hex[_TIME_DIGITS:]


def new_name(task_id: str) -> str:
    """Derive a readable name of a task, four words, from its id."""
    return name_of(task_id)
