"""Pages of Django's admin for finished tasks and schedules."""

from __future__ import annotations

from importlib import import_module
from typing import TYPE_CHECKING, Any

from django_q import models
from django_q.admin.resubmit import resubmit_task, retry_failed
from django_q.admin.schedules import ScheduleAdmin
from django_q.admin.tasks import FailAdmin, TaskAdmin

if TYPE_CHECKING:
    from django_q_orm.admin import QueueAdmin

__all__ = ["FailAdmin", "QueueAdmin", "ScheduleAdmin", "TaskAdmin", "resubmit_task", "retry_failed"]


def __getattr__(name: str) -> Any:
    """Import `QueueAdmin`, which belongs to the database broker, when it is first used."""
    if name != "QueueAdmin":
        raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
    models.OrmQ  # noqa: B018 - if the plugin is missing, its error names the plugin
    return import_module("django_q_orm.admin").QueueAdmin
