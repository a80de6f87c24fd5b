"""Many keys of the cache, read a window at a time: no command grows with how many they are."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, Final

if TYPE_CHECKING:
    from collections.abc import Sequence

    from django.core.cache.backends.base import BaseCache

WINDOW: Final = 500
"""How many keys are read in one round trip."""


def read_many(cache: BaseCache, keys: Sequence[str], window: int = WINDOW) -> dict[str, Any]:
    """Read keys, and give what was found."""
    found: dict[str, Any] = {}
    for start in range(0, len(keys), window):
        found |= cache.get_many(keys[start : start + window])
    return found
