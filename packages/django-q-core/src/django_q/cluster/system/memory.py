"""How much memory a process holds, and how much it keeps."""

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
"""Bytes of free memory that a process may keep."""

MIN_MMAP_BYTES = 4 * 2**20
"""Bytes from which a block is given back to the system as soon as it is free."""

STATM = Path("/proc/self/statm")


def current_rss_kb() -> int | None:
    """The resident set of this process now, in kilobytes; its peak where the system tells no more."""
    return from_proc() or from_psutil() or peak_rss_kb()


def keep_free_memory() -> None:
    """Let this process use its memory again instead of giving it back after each task with large arguments.

    For the system to find a page takes longer than to copy what is on it. What the GNU C library would keep by itself
    depends on the largest block that was ever freed, up to 64 MB; others do as they like.
    """
    mallopt = getattr(ctypes.CDLL(None), "mallopt", None)
    if mallopt is not None:
        mallopt(_M_TRIM_THRESHOLD, MAX_FREE_BYTES)
        mallopt(_M_MMAP_THRESHOLD, MIN_MMAP_BYTES)


def from_proc() -> int | None:
    """The resident set as Linux tells it."""
    try:
        pages = int(STATM.read_text(encoding="ascii").split()[1])
    except (OSError, ValueError, IndexError):
        return None
    return pages * os.sysconf("SC_PAGE_SIZE") // 1024


def from_psutil() -> int | None:
    """The resident set as psutil tells it, which django-q-core[process] installs."""
    library = psutil()
    return None if library is None else int(library.Process().memory_info().rss) // 1024


def psutil() -> Any:
    """The library, where it is installed; it takes memory itself, and Linux does without."""
    return import_module("psutil") if find_spec("psutil") else None


def peak_rss_kb() -> int:
    """The largest resident set this process ever had: macOS counts it in bytes, others in kilobytes."""
    peak = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
    return peak // 1024 if sys.platform == "darwin" else peak
