"""Ids of tasks: 32 hexadecimal characters that begin with the time."""

from __future__ import annotations

import os
from string import hexdigits
from time import time_ns
from uuid import UUID, uuid5

from django_q.humanhash import name_of

_RANDOM_BITS = 0x0FFF3FFFFFFFFFFFFFFF


_VERSION_4_BITS = 0x40008000000000000000
"""What is random in an id, and what makes a UUID of it; the milliseconds since 1970 stand before both."""


_TIME_DIGITS = 12
"""Hexadecimal digits of an id that say when it was made."""


def new_id() -> str:
    """Name a task for machines: 32 hexadecimal characters, a UUID that begins with the time.

    Rows of tasks that were sent together have their places in the indexes of a large table side by side, so that few
    pages are read and written. That is the layout of version 7 (RFC 9562, 5.7); the version says 4, which every edition
    of Django Q has promised.
    """
    number = time_ns() // 1_000_000 << 80 | int.from_bytes(os.urandom(10)) & _RANDOM_BITS | _VERSION_4_BITS
    return f"{number:032x}"


def is_id(text: str) -> bool:
    """Tell whether this may be what a task is named for machines."""
    return len(text) == 32 and set(text) <= set(hexdigits)


def next_id(task_id: str) -> str:
    """Name the link of a chain that comes after another: the same however often it is sent."""
    return _derived(task_id, "chain")


def member_id(iter_id: str, index: int) -> str:
    """Name the task of an iter that is given the arguments of this index."""
    return _derived(iter_id, str(index))


def _derived(task_id: str, name: str) -> str:
    """Make an id that stands beside the one it comes from."""
    return task_id[:_TIME_DIGITS] + uuid5(UUID(task_id), name).hex[_TIME_DIGITS:]


def new_name(task_id: str) -> str:
    """Name a task for people: four words made from its id."""
    return name_of(task_id)
