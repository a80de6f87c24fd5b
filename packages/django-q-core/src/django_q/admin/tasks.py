"""Admin pages of successful and failed tasks."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, Final

from django.contrib import admin
from django.utils.translation import gettext_lazy as _

from django_q.admin.resubmit import resubmit_task
from django_q.models import Failure, Success, Task
from django_q.text import text_of

if TYPE_CHECKING:
    from collections.abc import Sequence

    from django.db.models import QuerySet
    from django.http import HttpRequest

TEXT_METHODS: Final = {"args": "shown_args", "kwargs": "shown_kwargs", "result": "shown_result"}
"""Columns with values of any class, and the methods that return them as storable text."""


@admin.register(Success)
class TaskAdmin(admin.ModelAdmin):  # pyrefly: ignore[implicit-any-type-argument] - Django's takes none
    """Page of successful tasks. They can be read, resubmitted and deleted, but not changed."""

    list_display = ("name", "func", "started", "stopped", "time_taken", "group")
    search_fields = ("name", "func", "group")
    list_filter = ("group",)
    actions = (resubmit_task,)
    unlisted: Sequence[str] = ("args", "kwargs", "result")
    """Columns that may be large. They are only read for the page of a single task."""

    def has_add_permission(self, request: HttpRequest, obj: Task | None = None) -> bool:
        """Return False: only clusters create tasks."""
        return False

    def get_queryset(self, request: HttpRequest) -> QuerySet[Task]:
        """Return the tasks, with large columns deferred."""
        return super().get_queryset(request).defer(*self.unlisted)

    def get_readonly_fields(self, request: HttpRequest, obj: Task | None = None) -> list[str]:
        """Return all fields."""
        names = [field.name for field in self.opts.get_fields() if field.concrete]
        return [*self.readonly_fields, *(TEXT_METHODS.get(name, name) for name in names)]

    @admin.display(description=_("time taken"))
    def time_taken(self, task: Task) -> float:
        """Return the seconds from sending to the end."""
        return task.time_taken()

    @admin.display(description=_("arguments"))
    def shown_args(self, task: Task) -> str:
        """Return the arguments as text."""
        return shown(task, "args")

    @admin.display(description=_("keyword arguments"))
    def shown_kwargs(self, task: Task) -> str:
        """Return the keyword arguments as text."""
        return shown(task, "kwargs")

    @admin.display(description=_("result"))
    def shown_result(self, task: Task) -> str:
        """Return the result as text, or the reason and traceback of a failure."""
        return shown(task, "result")


@admin.register(Failure)
class FailAdmin(TaskAdmin):
    """Page of failed tasks, with the beginnings of their results."""

    list_display = ("name", "func", "started", "stopped", "short_result")
    unlisted: Sequence[str] = ("args", "kwargs")

    @admin.display(description=_("result"))
    def short_result(self, task: Task) -> str:
        """Return the beginning of the result."""
        return task.short_result


def shown(task: Task, name: str) -> str:
    """Return a column as storable text. An error of the value's own code becomes the text."""
    try:
        value: Any = getattr(task, name)
    except (Exception, SystemExit) as error:  # noqa: BLE001 - unpickling runs the project's code
        value = error
    return text_of(value)
