"""The one task body that every peer runs."""

from __future__ import annotations

import os
import struct
import time
from functools import cache
from typing import TYPE_CHECKING, NamedTuple

if TYPE_CHECKING:
    from pathlib import Path

RECORDS = "BENCH_RECORDS"
"""Environment variable: the file that takes the records."""

_LAYOUT = struct.Struct("<Idd")


class Record(NamedTuple):
    """One execution."""

    index: int
    sent: float
    """When it was enqueued, in seconds since the epoch."""
    ran: float
    """When it was executed, in seconds since the epoch."""


def mark(index: int, sent: float, seconds: float = 0, payload: bytes = b"") -> int:
    """Sleep if told to, and append a record in one write: no two processes are in each other's way."""
    if seconds:
        time.sleep(seconds)
    os.write(_file(), _LAYOUT.pack(index, sent, time.time()))
    return index


@cache
def _file() -> int:
    return os.open(os.environ[RECORDS], os.O_WRONLY | os.O_APPEND | os.O_CREAT)


def count(file: Path) -> int:
    """Return the number of records."""
    return file.stat().st_size // _LAYOUT.size if file.exists() else 0


def read(file: Path, skip: int = 0) -> list[Record]:
    """All records but the first `skip`, in the order in which they were executed."""
    data = file.read_bytes()[skip * _LAYOUT.size :] if file.exists() else b""
    whole = data[: len(data) // _LAYOUT.size * _LAYOUT.size]
    return sorted(map(Record._make, _LAYOUT.iter_unpack(whole)), key=lambda record: record.ran)
