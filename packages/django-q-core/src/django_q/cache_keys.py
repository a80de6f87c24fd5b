"""Keys in the cache that every product accepts, whatever the label."""

from __future__ import annotations

from hashlib import sha256
from typing import Final

MAX_KEY_CHARACTERS: Final = 200
"""Maximum length of a key: memcached takes 250, with the prefix and the version of the project's cache."""


def safe_key(key: str) -> str:
    """Return a key, or its hash if memcached would not take it; safe keys are those of the public editions.

    Args:
        key: any text.
    """
    if len(key) <= MAX_KEY_CHARACTERS and key.isascii() and key.isprintable() and " " not in key:
        return key
    return f"django_q:{sha256(key.encode(errors='surrogatepass')).hexdigest()}"
