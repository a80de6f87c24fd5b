"""Keys of a queue. All are in one hash slot, so that a script on a Redis Cluster may use them."""

from __future__ import annotations

import itertools
from functools import lru_cache
from typing import Final, NamedTuple

from redis.crc import key_slot

PATTERNS: Final = ("django_q:*", "{django_q:*")
"""Patterns of all keys, for an access control list."""


class Keys(NamedTuple):
    """Keys of a queue, in the order of the arguments of scripts."""

    queue: str
    leases: str
    delayed: str
    packages: str
    dead: str
    attempts: str
    levels: str
    notes: str


NAMES: Final = Keys._fields[1:]
"""Last parts of the keys that only this broker uses."""


@lru_cache(maxsize=1000)
def keys_of(queue: str) -> Keys:
    """Return the keys of a queue. The list *queue* has its waiting packages."""
    prefix = prefix_of(queue)
    return Keys(queue, *(f"{prefix}:{name}" for name in NAMES))


def prefix_of(key: str) -> str:
    """Return the prefix of keys in the same slot as *key*.

    A cluster hashes the text between the first brace and the next closing one, or the whole key if that is empty.
    """
    _, _, rest = key.partition("{")
    tag, closed, _ = rest.partition("}")
    if tag and closed:
        return key
    if "}" not in key:
        return f"{{{key}}}"
    slot = key_slot(key.encode())
    candidates = (f"{{django_q:{number}}}" for number in itertools.count())
    return next(tag for tag in candidates if key_slot(tag.encode()) == slot) + f":{key}"
