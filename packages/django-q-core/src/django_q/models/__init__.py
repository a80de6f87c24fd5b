"""Models: finished tasks, batches and schedules."""

from __future__ import annotations

from importlib import import_module
from typing import TYPE_CHECKING, Any

from django_q.models.batch import Batch, BatchMember
from django_q.models.schedule import Schedule, validate_cron, validate_kwarg
from django_q.models.task import Failure, FailureManager, Success, SuccessManager, Task

if TYPE_CHECKING:
    from django_q_orm.models import OrmQ

__all__ = [
    "Batch",
    "BatchMember",
    "Failure",
    "FailureManager",
    "OrmQ",
    "Schedule",
    "Success",
    "SuccessManager",
    "Task",
    "validate_cron",
    "validate_kwarg",
]


def __getattr__(name: str) -> Any:
    """Import `OrmQ`, which belongs to the database broker, when it is first used."""
    if name != "OrmQ":
        raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
    try:
        return import_module("django_q_orm.models").OrmQ
    except (ImportError, RuntimeError) as error:  # Django raises RuntimeError for a model outside of INSTALLED_APPS
        raise ImportError(
            "OrmQ belongs to the database broker: pip install django-q-orm, and add 'django_q_orm' to INSTALLED_APPS.",
            name=__name__,
        ) from error
