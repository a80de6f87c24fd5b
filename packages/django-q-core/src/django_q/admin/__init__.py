"""The pages of Django's admin: finished tasks, and schedules of tasks to come."""

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
    """Fetch `QueueAdmin`, which lives with the database broker, only for those who ask for it."""
    if name != "QueueAdmin":
        raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
    models.OrmQ  # noqa: B018 - says what to install where it is missing
    return import_module("django_q_orm.admin").QueueAdmin
