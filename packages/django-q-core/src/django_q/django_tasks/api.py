"""API of `django.tasks`: that of Django 6.0 and later, or that of the package `django-tasks` on Django 5.2."""

from __future__ import annotations

import json
from types import NoneType
from typing import TYPE_CHECKING, Any, Final

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence

    from django.tasks import TaskContext, TaskResult, TaskResultStatus, task, task_backends
    from django.tasks.backends.base import BaseTaskBackend
    from django.tasks.base import Task, TaskError
    from django.tasks.exceptions import InvalidTask, TaskResultDoesNotExist, TaskResultMismatch
    from django.tasks.signals import task_enqueued, task_finished, task_started
    from django.utils.json import normalize_json

    AnyTask = Task[..., Any]
    AnyResult = TaskResult[..., Any]
    AnyContext = TaskContext[..., Any]
else:
    try:
        from django.tasks import TaskContext, TaskResult, TaskResultStatus, task, task_backends
        from django.tasks.backends.base import BaseTaskBackend
        from django.tasks.base import Task, TaskError
        from django.tasks.exceptions import InvalidTask, TaskResultDoesNotExist, TaskResultMismatch
        from django.tasks.signals import task_enqueued, task_finished, task_started
        from django.utils.json import normalize_json
    except ImportError:
        try:
            from django_tasks import TaskContext, TaskResult, TaskResultStatus, task, task_backends
            from django_tasks.backends.base import BaseTaskBackend
            from django_tasks.base import Task, TaskError
            from django_tasks.exceptions import InvalidTaskError as InvalidTask
            from django_tasks.exceptions import TaskResultDoesNotExist, TaskResultMismatch
            from django_tasks.signals import task_enqueued, task_finished, task_started
            from django_tasks.utils import normalize_json
        except ImportError as error:
            raise ImportError(
                "django_q.backend needs the tasks API: use Django 6.0 or later, or install django-tasks (pip install "
                "django-tasks)."
            ) from error

    AnyTask, AnyResult, AnyContext = (
        Task,
        TaskResult,
        TaskContext,
    )  # the classes of Django are generic in its stubs only

__all__ = [
    "AnyContext",
    "AnyResult",
    "AnyTask",
    "BaseTaskBackend",
    "InvalidTask",
    "Task",
    "TaskContext",
    "TaskError",
    "TaskResult",
    "TaskResultDoesNotExist",
    "TaskResultMismatch",
    "TaskResultStatus",
    "arguments_as_json",
    "as_json",
    "task",
    "task_backends",
    "task_enqueued",
    "task_finished",
    "task_started",
]


PLAIN_TYPES: Final = frozenset({str, int, float, bool, NoneType})
"""Types of values that are the same after JSON."""


def as_json(value: object) -> Any:
    """Return a value as it is read from JSON: it has no types of the project, and keys of dictionaries are texts.

    Raises:
        TypeError: it has no form in JSON.
        ValueError: as above, because bytes in it are no text.
    """
    return json.loads(json.dumps(normalize_json(value)))


def arguments_as_json(args: Sequence[Any], kwargs: Mapping[str, Any]) -> tuple[list[Any], dict[str, Any]]:
    """Return arguments as they are read from JSON. Plain values need no conversion.

    Raises:
        TypeError: an argument has no form in JSON.
        ValueError: as above, because bytes in it are no text.
    """
    if PLAIN_TYPES.issuperset(map(type, (*args, *kwargs.values()))) and all(type(name) is str for name in kwargs):
        return list(args), dict(kwargs)
    read_args, read_kwargs = as_json([list(args), dict(kwargs)])
    return read_args, read_kwargs
