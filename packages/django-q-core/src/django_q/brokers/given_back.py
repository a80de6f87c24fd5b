"""Message → how often it was given back, for products that count deliveries and do not say how they ended."""

from __future__ import annotations

import hashlib
import logging
from typing import TYPE_CHECKING, Final, cast

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence

    from django.core.cache.backends.base import BaseCache

logger = logging.getLogger("django-q")

KEPT: Final = 14 * 86_400
"""Seconds that it is remembered after the last time."""


class GivenBack:
    """Keeps the numbers in the Django cache of the settings, as well as that can.

    Only who holds the lease of a message gives it back, so nobody else changes its number meanwhile. What the cache
    does not know counts as a delivery: too many attempts may be counted, too few never.

    Args:
        cache: None remembers nothing.
        queue: what tells the queue from all others.
    """

    def __init__(self, cache: BaseCache | None, queue: str) -> None:
        self.cache = cache
        self.queue = queue

    def remember(self, messages: Sequence[str]) -> None:
        """Count these as given back once more."""
        if self.cache is None or not messages:
            return
        try:
            known = self._read(messages)
            self.cache.set_many({self._key(message): known.get(message, 0) + 1 for message in messages}, KEPT)
        except Exception as error:  # noqa: BLE001 - each product has errors of its own for being away
            logger.warning("The cache forgets that %s tasks were given back, not begun: %s", len(messages), error)

    def deliveries(self, received: Mapping[str, int]) -> dict[str, int]:
        """Take from how often each message was received how often it was given back; first deliveries ask nothing."""
        back = self._known([message for message, count in received.items() if count > 1])
        return {message: max(count - back.get(message, 0), 1) for message, count in received.items()}

    def _known(self, messages: Sequence[str]) -> dict[str, int]:
        if self.cache is None or not messages:
            return {}
        try:
            return self._read(messages)
        except Exception as error:  # noqa: BLE001 - as above
            logger.warning("The cache cannot say how often %s tasks were given back: %s", len(messages), error)
            return {}

    def _read(self, messages: Sequence[str]) -> dict[str, int]:
        keys = {self._key(message): message for message in messages}
        found = cast("BaseCache", self.cache).get_many(list(keys))
        return {keys[key]: count for key, count in found.items()}

    def _key(self, message: str) -> str:
        return "django_q:given-back:" + hashlib.sha256(f"{self.queue}\n{message}".encode()).hexdigest()
