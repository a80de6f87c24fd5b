"""Models of finished tasks."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from django.db import models
from django.utils.text import Truncator
from django.utils.translation import gettext_lazy as _

from django_q.clock import in_project_time
from django_q.functions import describe
from django_q.models.fields import PickledField
from django_q.models.indexes import ValueIndex
from django_q.models.labels import stored_label
from django_q.text import text_of
from django_q.wire.option_values import ID_CHARACTERS, lookups, required_label

if TYPE_CHECKING:
    from collections.abc import Mapping

    from django.db.models import QuerySet

ID_LENGTH = ID_CHARACTERS
"""Length of a task's id in characters: a UUID in hexadecimal."""


class Task(models.Model):
    """Finished task, with its arguments and its result."""

    id = models.CharField(_("task id"), max_length=ID_LENGTH, primary_key=True, editable=False)
    """Id that `async_task` returned."""
    name = models.CharField(_("name"), max_length=100, editable=False)
    """Name: the option `task_name`, or four words made from the id."""
    func = models.CharField(_("function"), max_length=256)
    """Dotted path of its function, or the text of a callable without one."""
    hook = models.CharField(_("hook"), max_length=256, null=True)
    """Dotted path of the function that is called with the finished task."""
    args = PickledField(_("arguments"))
    """Positional arguments, as they were sent."""
    kwargs = PickledField(_("keyword arguments"))
    """Keyword arguments, as they were sent."""
    result = PickledField(_("result"))
    """Return value of a success; of a failure, the text of the exception and its traceback."""
    group = models.CharField(_("group"), max_length=100, null=True, editable=False)
    """Label that it shares with other tasks."""
    cluster = models.CharField(_("cluster"), max_length=100, null=True, blank=True, default=None)
    """Name of the cluster that its sender chose; None for that of the settings."""
    started = models.DateTimeField(_("started"), editable=False, help_text=_("When the task was sent."))
    """Time at which the task was sent."""
    stopped = models.DateTimeField(_("stopped"), editable=False, help_text=_("When a worker finished it."))
    """Time at which a worker finished it."""
    success = models.BooleanField(_("success"), default=True, editable=False)
    """True if the function returned."""
    attempt_count = models.IntegerField(_("attempts"), default=0)
    """Number of the attempt that ended with this result."""

    class Meta:
        app_label = "django_q"
        verbose_name = _("Task")
        verbose_name_plural = _("Tasks")
        ordering = ("-stopped",)
        indexes = (
            models.Index(fields=["success", "stopped"], name="django_q_task_latest"),
            ValueIndex(fields=["group"], name="django_q_task_group"),
            models.Index(fields=["name"], name="django_q_task_name"),
            models.Index(fields=["func"], name="django_q_task_func"),
        )

    def __str__(self) -> str:
        return self.name or self.id

    @classmethod
    def from_package(cls, package: Mapping[str, Any], *, saved: bool = False) -> Task:
        """Create a task from a finished package, for hooks and for results in the cache. It is not saved.

        Args:
            package: package with `result`, `success` and `stopped`.
            saved: True if the database contains this task.
        """
        func, hook = package["func"], package.get("hook")
        task = cls(
            id=package["id"],
            name=package["name"],
            func=describe(func),
            hook=hook if hook is None else describe(hook),
            args=package.get("args", ()),
            kwargs=package.get("kwargs", {}),
            result=package.get("result"),
            group=package.get("group"),
            cluster=package.get("cluster"),
            started=in_project_time(package["started"]),
            stopped=in_project_time(package["stopped"]),
            success=package["success"],
            attempt_count=package.get("attempt_count", 1),
        )
        task._state.adding = not saved
        return task

    # by id or name

    @staticmethod
    def stored_lookups(task_id: object) -> list[tuple[str, str]]:
        """Return the lookups of a task in the database: pairs of a column and its value."""
        return [(column, stored_label(Task, value)) for column, value in lookups(task_id)]

    @staticmethod
    def get_task(task_id: object) -> Task | None:
        """Return a task by its id or name; of several with the name, the one that finished last."""
        found = (Task.objects.filter(**{column: value}).first() for column, value in Task.stored_lookups(task_id))
        return next((task for task in found if task is not None), None)

    @staticmethod
    def get_result(task_id: object) -> Any:
        """Return the result of a task by its id or name, or None."""
        task = Task.get_task(task_id)
        return task.result if task else None

    # by group

    @staticmethod
    def group_label(group_id: object) -> str:
        """Return the label of a group as the database stores it."""
        return stored_label(Task, required_label("group_id", group_id))

    @staticmethod
    def get_task_group(group_id: object, failures: bool = True) -> QuerySet[Task]:
        """Return the tasks of a group; only the successful ones if *failures* is False."""
        tasks = Task.objects.filter(group=Task.group_label(group_id))
        return tasks if failures else tasks.filter(success=True)

    @staticmethod
    def get_result_group(group_id: object, failures: bool = False) -> QuerySet[Task, Any]:
        """Return the results of a group; those of failures, too, if *failures* is True."""
        return Task.get_task_group(group_id, failures).values_list("result", flat=True)

    @staticmethod
    def get_group_count(group_id: object, failures: bool = False) -> int:
        """Count the finished tasks of a group; only the failed ones if *failures* is True."""
        tasks = Task.objects.filter(group=Task.group_label(group_id))
        return (tasks.filter(success=False) if failures else tasks).count()

    @staticmethod
    def delete_group(group_id: object, objects: bool = False) -> int | tuple[int, dict[str, int]]:
        """Remove the label from a group's tasks, or delete the tasks if *objects* is True.

        Returns:
            The number of tasks; for deleted ones, the return value of `QuerySet.delete`.
        """
        tasks = Task.objects.filter(group=Task.group_label(group_id))
        return tasks.delete() if objects else tasks.update(group=None)

    # the group of this task

    def group_result(self, failures: bool = False) -> QuerySet[Task, Any] | None:
        """Return the results of this task's group, as `get_result_group`; None without a group."""
        return self.get_result_group(self.group, failures) if self.group else None

    def group_count(self, failures: bool = False) -> int | None:
        """Count the finished tasks of this task's group, as `get_group_count`; None without a group."""
        return self.get_group_count(self.group, failures) if self.group else None

    def group_delete(self, tasks: bool = False) -> int | tuple[int, dict[str, int]] | None:
        """Delete this task's group, as `delete_group`; None without a group.

        Args:
            tasks: True to delete the tasks of the group, too.
        """
        return self.delete_group(self.group, tasks) if self.group else None

    def time_taken(self) -> float:
        """Return the seconds from sending to the end, including the time in the queue."""
        return (in_project_time(self.stopped) - in_project_time(self.started)).total_seconds()

    @property
    def short_result(self) -> str:
        """The first hundred characters of the result."""
        return Truncator(text_of(self.result, 1_000)).chars(100)


class SuccessManager(models.Manager["Success"]):
    """Finds successful tasks only."""

    def get_queryset(self) -> QuerySet[Success]:
        """Return the successful tasks."""
        return super().get_queryset().filter(success=True)


class Success(Task):
    """Task that returned."""

    objects = SuccessManager()

    class Meta:
        app_label = "django_q"
        proxy = True
        verbose_name = _("Successful task")
        verbose_name_plural = _("Successful tasks")
        ordering = ("-stopped",)


class FailureManager(models.Manager["Failure"]):
    """Finds failed tasks only."""

    def get_queryset(self) -> QuerySet[Failure]:
        """Return the failed tasks."""
        return super().get_queryset().filter(success=False)


class Failure(Task):
    """Task that raised an exception, exceeded its timeout or lost its worker."""

    objects = FailureManager()

    class Meta:
        app_label = "django_q"
        proxy = True
        verbose_name = _("Failed task")
        verbose_name_plural = _("Failed tasks")
        ordering = ("-stopped",)
