"""Marks of the targets of commands, in shared memory, so that workers ask the database for few tasks."""

from __future__ import annotations

import mmap
import os
import zlib
from multiprocessing import reduction
from typing import TYPE_CHECKING, Any, Final

from django_q.cluster.ipc.channels import unlinked_file

if TYPE_CHECKING:
    from collections.abc import Iterable

BITS: Final = 2**19
"""Number of marks. Two targets may share one: a mark only says that the database has to be asked."""

_COUNT_BYTES: Final = 16


class CommandMarks:
    """A bit for each target of a command. The scheduler writes it, workers read it.

    Its pages use memory only when they are written.
    """

    def __init__(self) -> None:
        self._open(unlinked_file())

    def _open(self, file: int) -> None:
        size = _COUNT_BYTES + BITS // 8
        os.ftruncate(file, size)
        self._file = file
        self._map = memoryview(mmap.mmap(file, size))
        self._counts = self._map[:_COUNT_BYTES].cast("q")
        self._bits = self._map[_COUNT_BYTES:]

    def __getstate__(self) -> Any:
        return reduction.DupFd(self._file)

    def __setstate__(self, state: Any) -> None:
        self._open(state.detach())

    @property
    def any(self) -> bool:
        """True if there are marks."""
        return self._counts[0] > 0

    @property
    def are_loaded(self) -> bool:
        """True if the commands of the database were marked once."""
        return self._counts[1] > 0

    def loaded(self) -> None:
        """Record that the commands of the database are marked."""
        self._counts[1] = 1

    def add(self, targets: Iterable[tuple[str, str]]) -> None:
        """Mark targets.

        Args:
            targets: kind and target of each command.
        """
        for kind, target in targets:
            byte, bit = divmod(index_of(kind, target), 8)
            self._bits[byte] |= 1 << bit
            self._counts[0] += 1

    def clear(self) -> None:
        """Remove all marks."""
        if self._counts[0]:
            self._counts[0] = 0
            self._bits[:] = bytes(BITS // 8)

    def may_have(self, targets: Iterable[tuple[str, str]]) -> bool:
        """Return True if one of several targets may be marked, and False if none is."""
        indexes = (divmod(index_of(kind, target), 8) for kind, target in targets)
        return any(self._bits[byte] & 1 << bit for byte, bit in indexes)


def index_of(kind: str, target: str) -> int:
    """Return the position of a target's mark."""
    return zlib.crc32(f"{kind}:{target}".encode(errors="surrogatepass")) % BITS
