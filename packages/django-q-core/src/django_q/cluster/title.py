"""The name a process has in the system's list of processes."""

from __future__ import annotations

try:
    from setproctitle import setproctitle
except ImportError:
    setproctitle = None


def set_title(text: str) -> bool:
    """Give this process a title; False without setproctitle, which django-q-core[process] installs."""
    if setproctitle is None:
        return False
    setproctitle(text)
    return True
