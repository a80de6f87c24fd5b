"""File descriptors of a process."""

from __future__ import annotations

import os
from typing import TYPE_CHECKING, TypeAlias

if TYPE_CHECKING:
    from collections.abc import Sequence

Identity: TypeAlias = tuple[int, int]
"""Device and inode of an open file."""


def identities_of(files: Sequence[int]) -> list[Identity | None]:
    """Return the identities of open files; None for a descriptor that is closed."""
    try:
        return [(stat.st_dev, stat.st_ino) for stat in map(os.fstat, files)]
    except OSError:
        return [identity_of(file) for file in files]


def identity_of(file: int) -> Identity | None:
    """Return the identity of an open file; None if the descriptor is closed."""
    try:
        stat = os.fstat(file)
    except OSError:
        return None
    return stat.st_dev, stat.st_ino


def copy_of(file: int) -> int | None:
    """Return a copy of a file descriptor; None if it is closed."""
    try:
        return os.dup(file)
    except OSError:
        return None


def free_file() -> int:
    """Return the lowest file descriptor that is not in use."""
    file = os.open(os.devnull, os.O_RDONLY | os.O_CLOEXEC)
    os.close(file)
    return file
