"""Pages of Django's admin for finished tasks and schedules."""

from __future__ import annotations

from typing import TYPE_CHECKING

from django_q.admin.records import RecordAdmin
from django_q.admin.resubmit import resubmit_task, retry_failed
from django_q.admin.schedules import ScheduleAdmin
from django_q.admin.tasks import FailAdmin, TaskAdmin
from django_q.old_names import resolver

if TYPE_CHECKING:
    from django_q_orm.admin import QueueAdmin

__all__ = ["FailAdmin", "QueueAdmin", "RecordAdmin", "ScheduleAdmin", "TaskAdmin", "resubmit_task", "retry_failed"]

__getattr__ = resolver(__name__)
