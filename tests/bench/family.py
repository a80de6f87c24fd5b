"""A process and all its descendants, looked at from outside."""

from __future__ import annotations

from contextlib import suppress
from typing import TYPE_CHECKING

import psutil

if TYPE_CHECKING:
    from collections.abc import Iterator


class Family:
    """The processes that do a peer's work."""

    def __init__(self, pid: int) -> None:
        self.pid = pid

    def members(self) -> list[psutil.Process]:
        """Those who live, the outermost first."""
        with suppress(psutil.NoSuchProcess):
            first = psutil.Process(self.pid)
            return [first, *first.children(recursive=True)]
        return []

    def cpu(self) -> float:
        """Seconds of processor that all of them have used, those that ended in the meantime too."""
        return sum(self._each_cpu())

    def pss(self) -> float:
        """Megabytes: what is shared, counted once."""
        return sum(self.memory("pss").values())

    def memory(self, kind: str) -> dict[int, float]:
        """The memory of each process by its id, in MB: "rss", "pss", or "uss" for its private part."""
        found = {}
        for member in self.members():
            with suppress(psutil.NoSuchProcess):
                found[member.pid] = getattr(member.memory_full_info(), kind) / 2**20
        return found

    def _each_cpu(self) -> Iterator[float]:
        for member in self.members():
            with suppress(psutil.NoSuchProcess):
                yield sum(member.cpu_times()[:4])  # its own, and that of its children that have ended
