"""CPU affinity of workers."""

from __future__ import annotations

import os
import sys


def cpu_windows(n_workers: int, cpus: int, n: int) -> list[list[int]]:
    """Return the processors of each worker: consecutive windows of *n* processors, starting again after the last one.

    Args:
        n_workers: number of workers.
        cpus: number of processors.
        n: processors of each worker; all if it is 0 or not smaller than *cpus*.
    """
    if not 0 < n < cpus:
        return [list(range(cpus)) for _ in range(n_workers)]
    return [[(worker * n + offset) % cpus for offset in range(n)] for worker in range(n_workers)]


def available_cpus() -> list[int]:
    """Return the processors that this process may use on this machine or in its container."""
    if sys.platform == "linux":
        return sorted(os.sched_getaffinity(0))
    return list(range(os.cpu_count() or 1))


def pin(index: int, cpus_per_worker: int) -> list[int]:
    """Bind this process to the processors of its slot, which a replacing worker uses, too.

    Args:
        index: index of the worker's slot.
        cpus_per_worker: number of processors.

    Returns:
        The processors; an empty list if all may be used. On systems without CPU affinity, nothing is bound.
    """
    cpus = available_cpus()
    if not 0 < cpus_per_worker < len(cpus):
        return []
    window = [cpus[position] for position in cpu_windows(index + 1, len(cpus), cpus_per_worker)[index]]
    if sys.platform == "linux":
        os.sched_setaffinity(0, window)
    return window
