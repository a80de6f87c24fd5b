"""Admin pages of successful and failed tasks."""

from __future__ import annotations

from functools import partial
from typing import TYPE_CHECKING, Any, ClassVar, Final
from uuid import UUID

from django.contrib import admin
from django.db.models import TextField
from django.db.models.functions import Cast, Substr
from django.utils.html import format_html
from django.utils.translation import gettext_lazy as _

from django_q.admin.error_search import matching_error
from django_q.admin.filters import TextFilter
from django_q.admin.pages import ReadOnlyPage
from django_q.admin.resubmit import resubmit_task
from django_q.admin.times import seconds_between, with_seconds
from django_q.admin.tracebacks import as_html
from django_q.admin.values import (
    HEAD_CHARACTERS,
    MAX_LISTED_CHARACTERS,
    beginning,
    breakable,
    notation,
    pickled_text,
)
from django_q.models import Failure, Record, Success, Task
from django_q.results.failures import FailureText
from django_q.text import text_of

if TYPE_CHECKING:
    from collections.abc import Callable, Sequence

    from django.db.models import QuerySet
    from django.http import HttpRequest

PAGE_METHODS: Final = {"args": "shown_args", "kwargs": "shown_kwargs", "result": "shown_result"}
"""Columns with values of any class, and the methods that show them on a page."""

LIST_METHODS: Final = {"args": "short_args", "kwargs": "short_kwargs", "result": "short_result"}
"""Columns with values of any class, and the methods that show them in a list."""

MAX_TRACEBACK_CHARACTERS: Final = 50_000
"""Maximum length of a traceback on a page."""


@admin.register(Success)
class TaskAdmin(ReadOnlyPage):
    """Page of successful tasks. They can be read, resubmitted and deleted, but not changed."""

    list_display = (
        *("name", "function", "started_at", "stopped_at", "time_taken", "waiting_time", "run_time", "attempt_count"),
        *("worker", "group"),
    )
    search_fields = ("name", "func", "group")
    search_help_text = _("Id, name, function or group")
    list_filter = (("group", TextFilter), ("cluster", TextFilter), "stopped")
    actions = (resubmit_task,)
    downloads: ClassVar[Sequence[str]] = ("args", "kwargs", "result")
    unlisted: Sequence[str] = ("args", "kwargs", "result")
    """Columns that may be large. They are only read for the page of a single task."""

    def get_queryset(self, request: HttpRequest) -> QuerySet[Task]:
        """Return the tasks, with large columns deferred."""
        tasks = super().get_queryset(request).defer(*self.unlisted)
        # SQLite uses the index for `success IN (1)`, and not for `success`.
        return tasks.filter(success__in=[issubclass(self.model, Success)]) if self.model is not Task else tasks

    def get_list_display(self, request: HttpRequest) -> list[Any]:
        """Return the columns. A value of any class is replaced by a text that always can be shown."""
        shown = super().get_list_display(request)
        return [LIST_METHODS.get(name, name) if isinstance(name, str) else name for name in shown]

    def get_search_results(
        self, request: HttpRequest, queryset: QuerySet[Task], search_term: str
    ) -> tuple[QuerySet[Task], bool]:
        """Return the task with an id, or else the tasks with a text in their name, function or group."""
        if task_id := as_task_id(search_term):
            found = queryset.filter(pk=task_id)
            if found.exists():
                return found, False
        return super().get_search_results(request, queryset, search_term)

    def complete(self, rows: Sequence[Task]) -> None:
        """Add the times and workers in the records of tracked tasks, and the beginnings of results."""
        by_id = {task.pk: task for task in rows}
        for task_id, *values in Record.objects.filter(pk__in=by_id).values_list(
            "pk", "enqueued_at", "last_attempted_at", "attempts"
        ):
            vars(by_id[task_id])["record_values"] = values
        if "result" in self.list_display or "short_result" in self.list_display:
            head = Substr(Cast("result", TextField()), 1, HEAD_CHARACTERS)
            rows_of_page = Task.objects.filter(pk__in=by_id).order_by().annotate(head=head)
            for task_id, value in rows_of_page.values_list("pk", "head"):
                vars(by_id[task_id])["result_head"] = value

    # buttons

    def buttons(self, request: HttpRequest, obj: Task) -> dict[str, tuple[Any, Callable[[], None]]]:
        """Return the button that sends the task again, for users who may change tasks."""
        if not self.has_change_permission(request, obj):
            return {}
        one = self.get_queryset(request).filter(pk=obj.pk)
        return {"_resubmit": (_("Resubmit"), partial(resubmit_task, self, request, one))}

    # columns

    @admin.display(description=_("started"), ordering="started")
    def started_at(self, task: Task) -> str:
        """Return the time at which the task was sent, with seconds."""
        return with_seconds(task.started)

    @admin.display(description=_("stopped"), ordering="stopped")
    def stopped_at(self, task: Task) -> str:
        """Return the time at which a worker finished it, with seconds."""
        return with_seconds(task.stopped)

    @admin.display(description=_("time taken"))
    def time_taken(self, task: Task) -> float:
        """Return the seconds from sending to the end."""
        return task.time_taken()

    @admin.display(description=_("waiting time"), empty_value="-")
    def waiting_time(self, task: Task) -> float | None:
        """Return the seconds from sending to the start of the last attempt, if the task was tracked."""
        sent, attempted, _attempts = record_values(task)
        return seconds_between(sent, attempted)

    @admin.display(description=_("run time"), empty_value="-")
    def run_time(self, task: Task) -> float | None:
        """Return the seconds of the last attempt, if the task was tracked."""
        _sent, attempted, attempts = record_values(task)
        duration = attempts[-1].get("duration") if attempts else None
        return duration if isinstance(duration, float) else seconds_between(attempted, task.stopped)

    @admin.display(description=_("worker"), empty_value="-")
    def worker(self, task: Task) -> str | None:
        """Return the name of the worker of the last attempt, if the task was tracked."""
        attempts = record_values(task)[2]
        return attempts[-1].get("worker") if attempts else None

    @admin.display(description=_("result"))
    def short_result(self, task: Task) -> str:
        """Return the beginning of the result, if it is a text. Values of other classes are not unpickled for a list."""
        head = getattr(task, "result_head", None)
        text = pickled_text(head) if head else None
        return breakable(beginning(" ".join(text.split()), MAX_LISTED_CHARACTERS)) if text else "-"

    @admin.display(description=_("arguments"))
    def short_args(self, task: Task) -> str:
        """Return the beginning of the arguments."""
        return beginning(notation(lambda: task.args), MAX_LISTED_CHARACTERS)

    @admin.display(description=_("keyword arguments"))
    def short_kwargs(self, task: Task) -> str:
        """Return the beginning of the keyword arguments."""
        return beginning(notation(lambda: task.kwargs), MAX_LISTED_CHARACTERS)

    # the page of a task

    def page_names(self) -> dict[str, str]:
        """Return the methods that show values of any class and times."""
        return {**PAGE_METHODS, "started": "started_at", "stopped": "stopped_at"}

    def get_readonly_fields(self, request: HttpRequest, obj: Any = None) -> list[Any]:
        """Return all fields."""
        fields = super().get_readonly_fields(request, obj)
        return [*fields, *(name for name in ("time_taken", "waiting_time", "run_time", "worker") if name not in fields)]

    @admin.display(description=_("result"))
    def shown_result(self, task: Task) -> str:
        """Return the result in the notation of Python."""
        return self.shown(task, "result")


@admin.register(Failure)
class FailAdmin(TaskAdmin):
    """Page of failed tasks, with the beginnings of their errors."""

    list_display = (
        *("name", "function", "short_result", "started_at", "stopped_at", "time_taken", "waiting_time", "run_time"),
        *("attempt_count", "worker", "group"),
    )
    search_help_text = _("Id, name, function, group, or text of the error in its exact spelling")

    def get_search_results(
        self, request: HttpRequest, queryset: QuerySet[Task], search_term: str
    ) -> tuple[QuerySet[Task], bool]:
        """Return the failures that are found as tasks, and those with the text in their error."""
        found, may_repeat = super().get_search_results(request, queryset, search_term)
        if as_task_id(search_term):
            return found, may_repeat
        return matching_error(queryset, search_term, found), may_repeat

    def page_names(self) -> dict[str, str]:
        """Return the methods of fields. The result has its own, at the top of the page."""
        return {**super().page_names(), "result": "traceback"}

    def get_fields(self, request: HttpRequest, obj: Any = None) -> list[Any]:
        """Return the fields: the error and its traceback first."""
        if self.fields is not None:
            return [*self.fields]
        first = ("error", "traceback")
        return [*first, *(name for name in self.get_readonly_fields(request, obj) if name not in first)]

    def get_readonly_fields(self, request: HttpRequest, obj: Any = None) -> list[Any]:
        """Return all fields."""
        return ["error", *super().get_readonly_fields(request, obj)]

    @admin.display(description=_("error"))
    def error(self, task: Task) -> str:
        """Return class and message of the exception."""
        text = FailureText.of(failure_text(task)).error
        return format_html("<strong>{}</strong>", beginning(text))

    @admin.display(description=_("traceback"))
    def traceback(self, task: Task) -> str:
        """Return the traceback in a monospaced block. Frames of libraries are folded."""
        text = failure_text(task)
        shown = as_html(beginning(FailureText.of(text).traceback, MAX_TRACEBACK_CHARACTERS)) or "-"
        return format_html("{}{}", shown, self.download_link(task, "result", len(text)))

    def whole_text(self, obj: Task, attribute: str) -> str:
        """Return the text of the error as it is, and other values in the notation of Python."""
        return failure_text(obj) if attribute == "result" else super().whole_text(obj, attribute)


def failure_text(task: Task) -> str:
    """Return the text of a failure; a note if it cannot be read."""
    try:
        value: Any = task.result
    except (Exception, SystemExit):  # noqa: BLE001 - unpickling runs the project's code
        return notation(lambda: task.result)
    return text_of(value, len(value) if isinstance(value, str) else MAX_TRACEBACK_CHARACTERS)


def record_values(task: Task) -> Sequence[Any]:
    """Return the time of sending, the start of the last attempt, and the attempts of a task; None and () if unknown."""
    if "record_values" not in vars(task):
        columns = ("enqueued_at", "last_attempted_at", "attempts")
        vars(task)["record_values"] = Record.objects.filter(pk=task.pk).values_list(*columns).first()
    sent, attempted, attempts = vars(task)["record_values"] or (None, None, ())
    return sent, attempted, attempts


def as_task_id(text: str) -> str | None:
    """Return the id of a task that a user has typed, also with hyphens; None if the text is no id."""
    try:
        return UUID(text.strip()).hex
    except ValueError:
        return None
