"""Django Q as the back end of Django's tasks."""

from __future__ import annotations

from .django_tasks import producer
from .ours import setup, worker

__all__ = ["producer", "setup", "worker"]
