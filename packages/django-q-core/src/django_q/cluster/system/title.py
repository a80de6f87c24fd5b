"""Title of a process in the system's list of processes."""

from __future__ import annotations

from importlib import import_module
from importlib.util import find_spec
from typing import Any

setproctitle: Any = import_module("setproctitle") if find_spec("setproctitle") else None


def prepare_title() -> None:
    """Initialise setproctitle before the fork, so that all forked processes share its memory."""
    if setproctitle is not None:
        setproctitle.getproctitle()


def set_title(text: str) -> bool:
    """Set the title of this process.

    Returns:
        False without setproctitle, which django-q-core[process] installs.
    """
    if setproctitle is None:
        return False
    setproctitle.setproctitle(text)
    return True
