"""Shared memory of the counts: one writer per number, no locks. They survive the processes that write and read them."""

from __future__ import annotations

import mmap
import os
from bisect import bisect_left
from multiprocessing import reduction
from typing import Any, Final, NamedTuple

from django_q.cluster.ipc.channels import unlinked_file

MAX_FUNCTIONS: Final = 100
"""Maximum number of functions with counts of their own. All others share those of `OTHER`."""

OTHER: Final = "other"
"""Name under which further functions are counted."""

NAME_BYTES: Final = 248
"""Maximum length of a function's name, in UTF-8. A longer one is truncated."""

BUCKETS: Final = (0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1.0, 2.5, 5.0, 10.0, 30.0, 60.0, 300.0, 1800.0, 3600.0)
"""Upper bounds of the histograms, in seconds. One more bucket has no bound."""

OUTCOMES: Final = ("success", "failure", "cancelled")

ROLES: Final = ("worker", "pusher", "monitor", "scheduler", "probes")
"""Roles of processes that the sentinel replaces."""

LEASE_HOLDERS: Final = ("pusher", "monitor")
"""Roles that renew leases."""

SENDERS: Final = ("monitor", "scheduler")
"""Roles besides the workers that send tasks."""

_WORD = 8
_RESTARTS = 1  # word 0: the number of functions
_LOST = _RESTARTS + len(ROLES)
_SENT = _LOST + len(LEASE_HOLDERS)
_HISTOGRAM = len(BUCKETS) + 2
_NAME = 1 + NAME_BYTES // _WORD
_ROW = _NAME + len(OUTCOMES) + 2 * _HISTOGRAM


class Counter:
    """Number that grows. One process writes it.

    Args:
        numbers: the shared memory, as integers.
        index: index of the number in it.
    """

    def __init__(self, numbers: Any, index: int) -> None:
        self._numbers, self._index = numbers, index

    def add(self, count: int = 1) -> None:
        """Add a count."""
        self._numbers[self._index] += count

    @property
    def value(self) -> int:
        """The number."""
        return self._numbers[self._index]


class HistogramTally(NamedTuple):
    """Counts of durations."""

    counts: tuple[int, ...]
    """Number of durations in each bucket, not cumulative; the last bucket has no bound."""
    total: float
    """Sum of the durations in seconds."""


class FunctionTally(NamedTuple):
    """Counts of one function."""

    function: str
    outcomes: dict[str, int]
    """Number of finished attempts by outcome."""
    run: HistogramTally
    wait: HistogramTally


class Tallies:
    """Counts of one cluster.

    Args:
        workers: number of workers.
    """

    def __init__(self, workers: int) -> None:
        self.workers = workers
        self._open(unlinked_file())

    def _open(self, file: int) -> None:
        first = _SENT + 2 * self.workers + len(SENDERS)
        size = _WORD * (first + _ROW * (MAX_FUNCTIONS + 1))
        os.ftruncate(file, size)
        self._file, self._first = file, first
        self._bytes = memoryview(mmap.mmap(file, size))
        self._ints, self._floats = self._bytes.cast("q"), self._bytes.cast("d")
        self._rows: dict[str, int] = {}
        senders = {f"worker {index}": index for index in range(self.workers)}
        senders |= {role: self.workers + index for index, role in enumerate(SENDERS)}
        self.restarts = {role: Counter(self._ints, _RESTARTS + index) for index, role in enumerate(ROLES)}
        """Processes that were replaced because they died or hung. Written by the sentinel."""
        self.lost_leases = {role: Counter(self._ints, _LOST + index) for index, role in enumerate(LEASE_HOLDERS)}
        """Leases that were lost before their task was finished. Each written by its role."""
        self.sent = {name: Counter(self._ints, _SENT + index) for name, index in senders.items()}
        """Tasks that processes of the cluster sent. Each written by its process."""
        self.started = [Counter(self._ints, _SENT + len(senders) + index) for index in range(self.workers)]
        """Attempts that workers began. Each written by its worker."""

    def __getstate__(self) -> dict[str, Any]:
        return {"workers": self.workers, "file": reduction.DupFd(self._file)}

    def __setstate__(self, state: dict[str, Any]) -> None:
        self.workers = state["workers"]
        self._open(state["file"].detach())

    def finished(self, function: str, outcome: str, run: float | None, wait: float | None) -> None:
        """Count a finished attempt. Only the monitor calls this.

        Args:
            function: dotted path of the function.
            outcome: one of `OUTCOMES`.
            run: duration of the attempt in seconds; None if nothing was executed.
            wait: time from sending to the start in seconds; None if it is not known, or no first attempt.
        """
        row = self._row(function) + _NAME
        self._ints[row + OUTCOMES.index(outcome)] += 1
        for index, seconds in enumerate((run, wait)):
            if seconds is not None:
                start = row + len(OUTCOMES) + index * _HISTOGRAM
                self._floats[start] += max(seconds, 0.0)
                self._ints[start + 1 + bisect_left(BUCKETS, seconds)] += 1

    def functions(self) -> list[FunctionTally]:
        """Return the counts of all functions that have finished, and those of `OTHER`."""
        return [self._tally(index) for index in range(self._ints[0] + 1)]

    def _row(self, function: str) -> int:
        """Return the index of a function's row; add one if there is room."""
        if not self._rows:  # the predecessor of this monitor has written some
            self._rows = {self._name(index): index for index in range(1, self._ints[0] + 1)}
        name = function.encode(errors="replace")[:NAME_BYTES]
        key = name.decode(errors="replace")
        index = self._rows.get(key, 0)
        if not index and self._ints[0] < MAX_FUNCTIONS:
            index = self._rows[key] = self._ints[0] + 1
            at = self._start(index)
            self._bytes[_WORD * (at + 1) : _WORD * (at + 1) + len(name)] = name
            self._ints[at] = len(name)
            self._ints[0] = index  # last: readers find complete rows
        return self._start(index)

    def _start(self, index: int) -> int:
        return self._first + _ROW * index

    def _name(self, index: int) -> str:
        at = self._start(index)
        start = _WORD * (at + 1)
        return bytes(self._bytes[start : start + self._ints[at]]).decode(errors="replace") if index else OTHER

    def _tally(self, index: int) -> FunctionTally:
        row = self._start(index) + _NAME
        outcomes = {name: self._ints[row + number] for number, name in enumerate(OUTCOMES)}
        starts = (row + len(OUTCOMES), row + len(OUTCOMES) + _HISTOGRAM)
        run, wait = (
            HistogramTally(tuple(self._ints[start + 1 : start + _HISTOGRAM]), self._floats[start]) for start in starts
        )
        return FunctionTally(self._name(index), outcomes, run, wait)
