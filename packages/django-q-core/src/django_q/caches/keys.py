"""Derives cache keys that all products accept, from any label."""

from __future__ import annotations

from hashlib import sha256
from typing import TYPE_CHECKING, Final

from django.core.cache import InvalidCacheKey

if TYPE_CHECKING:
    from django.core.cache.backends.base import BaseCache

MAX_KEY_CHARACTERS: Final = 200
"""Maximum length of a key. memcached accepts 250 characters, with the prefix and version of the project's cache."""


def safe_key(key: str, cache: BaseCache | None = None) -> str:
    """Return a key, or its hash if memcached would reject it. Keys without hash are those of the public editions.

    Args:
        key: any text.
        cache: cache that may accept fewer keys, for example because of a long `KEY_PREFIX`; None for memcached's rules.
    """
    plain = len(key) <= MAX_KEY_CHARACTERS and key.isascii() and key.isprintable() and " " not in key
    if plain and (cache is None or accepts(cache, key)):
        return key
    return f"django_q:{sha256(key.encode(errors='surrogatepass')).hexdigest()}"


def accepts(cache: BaseCache, key: str) -> bool:
    """Return True if a cache accepts a key, with the cache's prefix and version."""
    try:
        cache.validate_key(cache.make_key(key))
    except InvalidCacheKey:
        return False
    return True
