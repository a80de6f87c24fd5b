"""Which processors a worker may use."""

from __future__ import annotations

import os
import sys


def cpu_windows(n_workers: int, cpus: int, n: int) -> list[list[int]]:
    """The processors of each worker: windows of `n`, one after the other, round and round; all when n has no effect."""
    if not 0 < n < cpus:
        return [list(range(cpus)) for _ in range(n_workers)]
    return [[(worker * n + offset) % cpus for offset in range(n)] for worker in range(n_workers)]


def available_cpus() -> list[int]:
    """The processors this machine, or its container, lets this process use."""
    if sys.platform == "linux":
        return sorted(os.sched_getaffinity(0))
    return list(range(os.cpu_count() or 1))


def pin(index: int, cpus_per_worker: int) -> list[int]:
    """Bind this process, the worker in place `index`, to its window; the processors chosen, none when all are.

    The place is what counts: who replaces a worker gets its processors. Systems that cannot bind a process only
    choose.
    """
    cpus = available_cpus()
    if not 0 < cpus_per_worker < len(cpus):
        return []
    window = [cpus[position] for position in cpu_windows(index + 1, len(cpus), cpus_per_worker)[index]]
    if sys.platform == "linux":
        os.sched_setaffinity(0, window)
    return window
