"""The name a process has in the system's list of processes."""

from __future__ import annotations

from importlib import import_module
from importlib.util import find_spec
from typing import Any

setproctitle: Any = import_module("setproctitle") if find_spec("setproctitle") else None


def prepare_title() -> None:
    """Find out where the system keeps titles: once, for all forks to share."""
    if setproctitle is not None:
        setproctitle.getproctitle()


def set_title(text: str) -> bool:
    """Give this process a title; False without setproctitle, which django-q-core[process] installs."""
    if setproctitle is None:
        return False
    setproctitle.setproctitle(text)
    return True
