"""Base class for brokers with a queue for each band of priorities that must be asked one by one (SQS, IronMQ)."""

from __future__ import annotations

import time
from typing import TYPE_CHECKING, Final

from django_q.brokers.bands import BANDS, Band, BandOrder, bands_of, queue_of
from django_q.brokers.counted import CountedBroker
from django_q.brokers.process_local import ProcessLocal

if TYPE_CHECKING:
    from collections.abc import Sequence

    from django_q.brokers.base import Delivery
    from django_q.settings import ClusterSettings

MISSING_SECONDS: Final = 60.0
"""Time for which a process does not ask again for the queue of a band that does not exist."""

POLL_SECONDS: Final = 1
"""Maximum duration of a long poll. Packages of other bands that arrive meanwhile wait for its end."""

_missing: ProcessLocal[dict[str, float]] = ProcessLocal(dict)
"""Monotonic time until which a queue counts as missing, by its name."""


class BandedBroker(CountedBroker):
    """A broker that has a queue for each band of priorities.

    The first sender of a package with a high or a low priority creates the queue of its band. As long as that is
    missing, a fetch asks for it once in `MISSING_SECONDS` only. A subclass implements `receive`, and calls `is_present`
    before other requests about the queue of a band.
    """

    priorities = len(BANDS)

    def _begin(self, settings: ClusterSettings | None) -> None:
        super()._begin(settings)
        self._order = BandOrder()
        self._found_low = False

    def receive(self, band: Band, limit: int, wait: int) -> list[Delivery] | None:
        """Fetch packages of a band.

        Args:
            band: the band. The queue of the normal one is created if it is missing.
            limit: maximum number of packages.
            wait: seconds of the long poll; 0 means none.

        Returns:
            The deliveries; None if the queue does not exist.
        """
        raise NotImplementedError

    def longest_wait(self) -> float:
        """Return the maximum wait of a fetch in seconds."""
        raise NotImplementedError

    # -- fetching -------------------------------------------------------------------------------------------------

    def dequeue_many(self, limit: int, wait: float) -> list[Delivery]:
        """Fetch up to *limit* packages of one band; a fair fetch takes one of a lower band.

        Long polls take whole seconds; the rest of *wait* is slept.
        """
        deadline = time.monotonic() + wait
        left = int(min(wait, self.longest_wait()))
        order = self._order.next(fair=self.is_fair_fetch())
        while True:
            bands = self.present_bands(order)
            is_fair = len(bands) > 1 and order != BANDS
            pause = 0 if is_fair or (len(bands) > 1 and self._found_low) else min(left, POLL_SECONDS)
            found = self._first_of(bands, limit, pause, is_fair)
            if found or left <= pause:
                break
            left -= pause
            order = BANDS
        if not found:
            time.sleep(max(min(deadline - time.monotonic(), self.settings.poll), 0))
        return found

    def _first_of(self, bands: Sequence[Band], limit: int, wait: int, is_fair: bool) -> list[Delivery]:
        """Return the packages of the first band that has some. Only the normal one is polled for *wait* seconds."""
        for band in bands:
            number = min(limit, 1) if is_fair and band is not Band.HIGH else limit
            found = self.receive(band, number, wait if band is Band.NORMAL else 0)
            if found is None:
                self.note_missing(band)
            if band is Band.LOW:
                self._found_low = bool(found)
            if found:
                return found
        return []

    # -- the queues of the bands ----------------------------------------------------------------------------------

    def band_queue(self, band: Band) -> str:
        """Return the name of the queue of a band."""
        return queue_of(self.list_key, band)

    def present_bands(self, order: Sequence[Band] = BANDS) -> list[Band]:
        """Return the bands whose queues are not known to be missing."""
        possible = bands_of(self.list_key)
        return [band for band in order if band in possible and self.is_present(band)]

    def is_present(self, band: Band) -> bool:
        """Return False if the queue of a band was missing less than `MISSING_SECONDS` ago."""
        return band is Band.NORMAL or _missing.get().get(self._place(band), 0.0) <= time.monotonic()

    def note_missing(self, band: Band) -> None:
        """Remember that the queue of a band does not exist."""
        _missing.get()[self._place(band)] = time.monotonic() + MISSING_SECONDS

    def note_present(self, band: Band) -> None:
        """Forget that the queue of a band did not exist: a package was sent to it."""
        _missing.get().pop(self._place(band), None)

    def _place(self, band: Band) -> str:
        return f"{self.queue_name()} {band}"
