"""Pages of Django's admin for tasks, schedules, queues and clusters."""

from __future__ import annotations

from typing import TYPE_CHECKING

from django_q.admin.clusters import ClusterAdmin
from django_q.admin.queues import BrokerQueueAdmin
from django_q.admin.records import RecordAdmin
from django_q.admin.resubmit import resubmit_task, retry_failed
from django_q.admin.schedules import ScheduleAdmin
from django_q.admin.tasks import FailAdmin, TaskAdmin
from django_q.old_names import resolver

if TYPE_CHECKING:
    from django_q_orm.admin import QueueAdmin

__all__ = [
    "BrokerQueueAdmin",
    "ClusterAdmin",
    "FailAdmin",
    "QueueAdmin",
    "RecordAdmin",
    "ScheduleAdmin",
    "TaskAdmin",
    "resubmit_task",
    "retry_failed",
]

__getattr__ = resolver(__name__)
