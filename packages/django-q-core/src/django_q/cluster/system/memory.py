"""Memory of a process: measurement, and the allocator's limits."""

from __future__ import annotations

import ctypes
import os
import resource
import sys
from importlib import import_module
from importlib.util import find_spec
from pathlib import Path
from typing import Any

_M_TRIM_THRESHOLD, _M_MMAP_THRESHOLD = -1, -3  # malloc.h

MAX_FREE_BYTES = 16 * 2**20
"""Free memory that a process may keep (`M_TRIM_THRESHOLD`)."""

MIN_MMAP_BYTES = 4 * 2**20
"""Size from which the system gets a block back as soon as it is free (`M_MMAP_THRESHOLD`)."""

STATM_FILE = Path("/proc/self/statm")


def current_rss_kb() -> int | None:
    """Return the resident set of this process in KiB; its peak if the system reports nothing else."""
    return from_proc() or from_psutil() or peak_rss_kb()


def keep_free_memory() -> None:
    """Keep freed memory in this process, instead of returning it to the system after each task with large arguments.

    A page fault takes longer than copying a page. By default, the limits of the GNU C library depend on the largest
    block that was ever freed, up to 64 MB. Other C libraries have no such limits.
    """
    mallopt = getattr(ctypes.CDLL(None), "mallopt", None)
    if mallopt is not None:
        mallopt(_M_TRIM_THRESHOLD, MAX_FREE_BYTES)
        mallopt(_M_MMAP_THRESHOLD, MIN_MMAP_BYTES)


def from_proc() -> int | None:
    """Return the resident set in KiB from Linux; None on other systems."""
    try:
        pages = int(STATM_FILE.read_text(encoding="ascii").split()[1])
    except (OSError, ValueError, IndexError):
        return None
    return pages * os.sysconf("SC_PAGE_SIZE") // 1024


def from_psutil() -> int | None:
    """Return the resident set in KiB from psutil, which django-q-core[process] installs; None without it."""
    library = psutil()
    return None if library is None else int(library.Process().memory_info().rss) // 1024


def psutil() -> Any:
    """Import psutil, if it is installed. It needs memory itself, and Linux does not need it."""
    return import_module("psutil") if find_spec("psutil") else None


def peak_rss_kb() -> int:
    """Return the peak of the resident set in KiB. The system reports bytes on macOS, KiB elsewhere."""
    peak = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
    return peak // 1024 if sys.platform == "darwin" else peak
