"""Recognises caches that other processes cannot read."""

from __future__ import annotations

from functools import lru_cache
from typing import Final

from django.conf import settings as django_settings

from django_q.log import messages as log

PRIVATE_CACHES: Final = (
    "django.core.cache.backends.dummy.DummyCache",
    "django.core.cache.backends.locmem.LocMemCache",
)
"""Caches that other processes cannot read."""


def is_private(alias: str) -> bool:
    """Return True if other processes cannot read a cache.

    Args:
        alias: its alias in `CACHES`.
    """
    return django_settings.CACHES.get(alias, {}).get("BACKEND") in PRIVATE_CACHES


@lru_cache
def warn_if_private(alias: str) -> None:
    """Log once that the results of cached tasks cannot be read, if other processes cannot read a cache."""
    if is_private(alias):
        log.cache.not_shared(alias)
