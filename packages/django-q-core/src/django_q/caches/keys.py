"""Keys in the cache that every product accepts, whatever the label."""

from __future__ import annotations

from hashlib import sha256
from typing import TYPE_CHECKING, Final

from django.core.cache import InvalidCacheKey

if TYPE_CHECKING:
    from django.core.cache.backends.base import BaseCache

MAX_KEY_CHARACTERS: Final = 200
"""Maximum length of a key: memcached takes 250, with the prefix and the version of the project's cache."""


def safe_key(key: str, cache: BaseCache | None = None) -> str:
    """Return a key, or its hash if memcached would not take it; safe keys are those of the public editions.

    Args:
        key: any text.
        cache: it may accept less, such as one with a long `KEY_PREFIX`; None for what memcached accepts.
    """
    plain = len(key) <= MAX_KEY_CHARACTERS and key.isascii() and key.isprintable() and " " not in key
    if plain and (cache is None or accepts(cache, key)):
        return key
    return f"django_q:{sha256(key.encode(errors='surrogatepass')).hexdigest()}"


def accepts(cache: BaseCache, key: str) -> bool:
    """Return True if a cache takes a key, with its prefix and version."""
    try:
        cache.validate_key(cache.make_key(key))
    except InvalidCacheKey:
        return False
    return True
