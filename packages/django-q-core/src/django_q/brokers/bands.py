"""Bands of priorities, for products whose queues have no priorities: each band has a queue of its own."""

from __future__ import annotations

from enum import StrEnum
from typing import Final

FIFO_SUFFIX: Final = ".fifo"
"""End of the name of a FIFO queue of SQS."""

DEAD_SUFFIX: Final = "-dead"
"""End of the name of a dead-letter queue, before `FIFO_SUFFIX`."""


class Band(StrEnum):
    """A range of priorities."""

    HIGH = "high"
    NORMAL = "normal"
    LOW = "low"

    @classmethod
    def of(cls, priority: int) -> Band:
        """Return the band of a priority."""
        if priority == 0:
            return cls.NORMAL
        return cls.HIGH if priority > 0 else cls.LOW


SUFFIXES: Final = {Band.HIGH: "--top", Band.LOW: "--low"}
"""End of the name of a band's queue. It is short, like `DEAD_SUFFIX`, and no usual end of a cluster's name."""

BANDS: Final = tuple(Band)
"""All bands, in the order of their priorities."""


class BandOrder:
    """Order in which the fetches of a broker use the bands."""

    def __init__(self) -> None:
        self._turns = 0

    def next(self, *, fair: bool) -> tuple[Band, ...]:
        """Return the order of the next fetch. A fair one begins with the lower bands, which take turns."""
        if not fair:
            return BANDS
        self._turns += 1
        lower = (Band.NORMAL, Band.LOW) if self._turns % 2 else (Band.LOW, Band.NORMAL)
        return (*lower, Band.HIGH)


def queue_of(name: str, band: Band) -> str:
    """Return the queue of a band beside the queue *name*, which has the normal band."""
    return name if band is Band.NORMAL else with_suffix(name, SUFFIXES[band])


def bands_of(name: str) -> tuple[Band, ...]:
    """Return the bands that the queue *name* may have. A dead-letter queue has no priorities."""
    return (Band.NORMAL,) if name.removesuffix(FIFO_SUFFIX).endswith(DEAD_SUFFIX) else BANDS


def with_suffix(name: str, suffix: str) -> str:
    """Return the name of a queue with a suffix. The name of a FIFO queue ends in `FIFO_SUFFIX` nevertheless."""
    bare = name.removesuffix(FIFO_SUFFIX)
    return f"{bare}{suffix}{name[len(bare) :]}"


def band_name_problem(name: str) -> str | None:
    """Return why no cluster can have the queue *name*: it may be the band of another cluster. None if it can."""
    for band, suffix in SUFFIXES.items():
        if name.removesuffix(FIFO_SUFFIX).endswith(suffix):
            return f"names that end in {suffix!r} are those of the queues for {band} priorities"
    return None
