"""Tasks of the site: plain functions."""

from __future__ import annotations

import os
import time
from pathlib import Path
from typing import TypedDict

from django.conf import settings

DEFINITIONS = (b"def ", b"class ", b"async def ")


class Measurement(TypedDict):
    """Measurements of one file."""

    path: str
    lines: int
    words: int
    definitions: int
    seconds: float


def measure(path: str) -> Measurement:
    """Read a source file and count what is in it."""
    leave_record(path)
    began = time.perf_counter()
    source = Path(path).read_bytes()
    lines = source.splitlines()
    return {
        "path": path,
        "lines": len(lines),
        "words": len(source.split()),
        "definitions": sum(line.lstrip().startswith(DEFINITIONS) for line in lines),
        "seconds": time.perf_counter() - began,
    }


def records() -> Path:
    """Return the path of the records, which have one line for each execution."""
    return Path(settings.FOLDER) / "executions"


def leave_record(path: str) -> None:
    """Add a line to the records in one write, so that lines of several workers do not mix.

    Results cannot show that a task ran twice, for the second replaces the first. The records can.
    """
    with records().open("ab", buffering=0) as file:
        file.write(f"{os.getpid()} {path}\n".encode(errors="surrogateescape"))
