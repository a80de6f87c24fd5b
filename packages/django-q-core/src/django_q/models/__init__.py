"""Models: tracked and finished tasks, batches, schedules, commands and activity."""

from __future__ import annotations

from typing import TYPE_CHECKING

from django_q.models.activity import Activity
from django_q.models.batch import Batch, BatchMember
from django_q.models.command import Command
from django_q.models.pages import Cluster, Queue
from django_q.models.record import FINAL, WAITING, Record, Status
from django_q.models.schedule import Schedule, validate_cron, validate_kwarg
from django_q.models.task import Failure, FailureManager, Success, SuccessManager, Task
from django_q.old_names import resolver

if TYPE_CHECKING:
    from django_q_orm.models import OrmQ

__all__ = [
    "FINAL",
    "WAITING",
    "Activity",
    "Batch",
    "BatchMember",
    "Cluster",
    "Command",
    "Failure",
    "FailureManager",
    "OrmQ",
    "Queue",
    "Record",
    "Schedule",
    "Status",
    "Success",
    "SuccessManager",
    "Task",
    "validate_cron",
    "validate_kwarg",
]

__getattr__ = resolver(__name__)
