"""Django Q: a task queue for Django."""

from __future__ import annotations

from django_q.__about__ import __version__

VERSION = tuple(int(part) for part in __version__.split(".")[:3])

__all__ = ["VERSION", "__version__"]
