"""Admin page of tracked tasks: waiting, running, retrying and finished ones, with their attempts."""

from __future__ import annotations

from functools import partial
from typing import TYPE_CHECKING, Any, ClassVar

from django.contrib import admin, messages
from django.db import router, transaction
from django.utils.dateparse import parse_datetime
from django.utils.html import format_html_join
from django.utils.translation import gettext, ngettext
from django.utils.translation import gettext_lazy as _

from django_q.admin.filters import DropdownFilter, TextFilter
from django_q.admin.pages import ReadOnlyPage, log_and_change
from django_q.admin.tasks import as_task_id
from django_q.admin.times import with_seconds
from django_q.admin.tracebacks import as_html
from django_q.admin.values import beginning
from django_q.models import Command, Record
from django_q.tasks import cancel
from django_q.text import text_of

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable, Sequence

    from django.contrib.admin import ModelAdmin
    from django.db.models import QuerySet
    from django.http import HttpRequest

MAX_TRACEBACK_CHARACTERS = 20_000
"""Maximum length of the traceback of one attempt on a page."""

MAX_SHOWN_ATTEMPTS = 20
"""Maximum number of attempts on a page: the last ones."""


@admin.action(description=_("Cancel selected tasks"), permissions=["cancel"])
def cancel_tasks(model_admin: ModelAdmin[Record], request: HttpRequest, queryset: QuerySet[Record]) -> None:
    """Cancel tasks that have not ended."""
    count = ended = 0
    try:
        for record in queryset:
            if cancel_and_log(model_admin, request, record):
                count += 1
            else:
                ended += 1
    finally:
        report(model_admin, request, count, ended)


def cancel_and_log(model_admin: ModelAdmin[Record], request: HttpRequest, record: Record) -> bool:
    """Cancel a task and write an entry in the admin's log, or do neither. Return False if the task has ended before.

    Raises:
        django.db.DatabaseError: the database is unavailable.
    """

    def change() -> bool:
        with transaction.atomic(using=router.db_for_write(Command)):
            return cancel(record.pk)

    return log_and_change(model_admin, request, record, gettext("Cancelled."), change)


def report(model_admin: ModelAdmin[Record], request: HttpRequest, count: int, ended: int) -> None:
    """Show how many tasks are cancelled, and how many have ended before."""
    if count:
        sentence = ngettext("%(count)d task is cancelled.", "%(count)d tasks are cancelled.", count)
        model_admin.message_user(request, sentence % {"count": count}, messages.SUCCESS)
    if ended:
        sentence = ngettext("%(count)d task has ended before.", "%(count)d tasks have ended before.", ended)
        model_admin.message_user(request, sentence % {"count": ended}, messages.WARNING)


@admin.register(Record)
class RecordAdmin(ReadOnlyPage):
    """Page of tracked tasks. They can be read and cancelled, but neither changed nor deleted."""

    list_display = (
        "name",
        "function",
        "status",
        "queue",
        "sent_at",
        "started",
        "finished",
        "attempt_count",
        "worker",
        "group",
    )
    list_filter = (("status", DropdownFilter), ("queue", TextFilter), ("group", TextFilter))
    search_fields = ("name", "func", "group")
    search_help_text = _("Id, name, function or group")
    actions = (cancel_tasks,)
    downloads: ClassVar[Sequence[str]] = ("args", "kwargs", "return_value")
    fields = (
        *("name", "id", "status", "func", "group", "queue", "priority", "backend", "sent_at", "run_after", "started"),
        *("finished", "cancel_requested_at", "shown_args", "shown_kwargs", "shown_result", "shown_attempts"),
    )

    def get_queryset(self, request: HttpRequest) -> QuerySet[Record]:
        """Return the records, with large columns deferred."""
        return super().get_queryset(request).defer("arguments", "result")

    def has_change_permission(self, request: HttpRequest, obj: Record | None = None) -> bool:
        """Return False: only clusters change records."""
        return False

    def has_delete_permission(self, request: HttpRequest, obj: Record | None = None) -> bool:
        """Return False: clusters delete old records, and that of a task that waits is its state."""
        return False

    def has_cancel_permission(self, request: HttpRequest) -> bool:
        """Return True if the user may cancel tasks."""
        user: Any = request.user
        return user.has_perm(f"{self.opts.app_label}.cancel_record")

    def get_search_results(
        self, request: HttpRequest, queryset: QuerySet[Record], search_term: str
    ) -> tuple[QuerySet[Record], bool]:
        """Return the record with an id, or else the records with a text in their name, function or group."""
        if task_id := as_task_id(search_term):
            return queryset.filter(pk=task_id), False
        return super().get_search_results(request, queryset, search_term)

    def buttons(self, request: HttpRequest, obj: Record) -> dict[str, tuple[Any, Callable[[], None]]]:
        """Return the button that cancels the task, if it has not ended and the user may cancel tasks."""
        if obj.is_finished or not self.has_cancel_permission(request):
            return {}
        one = self.get_queryset(request).filter(pk=obj.pk)
        return {"_cancel": (_("Cancel task"), partial(cancel_tasks, self, request, one))}

    # columns

    @admin.display(description=_("sent"), ordering="enqueued_at")
    def sent_at(self, record: Record) -> str:
        """Return the time of sending, with seconds."""
        return with_seconds(record.enqueued_at)

    @admin.display(description=_("started"))
    def started(self, record: Record) -> str:
        """Return the start of the first attempt, with seconds."""
        return with_seconds(record.started_at)

    @admin.display(description=_("finished"), ordering="finished_at")
    def finished(self, record: Record) -> str:
        """Return the time at which the status became final, with seconds."""
        return with_seconds(record.finished_at)

    @admin.display(description=_("attempts"))
    def attempt_count(self, record: Record) -> int:
        """Return the number of attempts that have started."""
        return len(attempts_of(record))

    @admin.display(description=_("worker"), empty_value="-")
    def worker(self, record: Record) -> str | None:
        """Return the name of the worker of the last attempt."""
        attempts = attempts_of(record)
        return attempts[-1].get("worker") if attempts else None

    # the page of a task

    @admin.display(description=_("result"))
    def shown_result(self, record: Record) -> str:
        """Return the return value in the notation of Python."""
        return self.shown(record, "return_value")

    @admin.display(description=_("attempts"))
    def shown_attempts(self, record: Record) -> str:
        """Return the attempts: times, worker, exception and traceback of each."""
        attempts = attempts_of(record)[-MAX_SHOWN_ATTEMPTS:]
        return format_html_join("", "<p><strong>{}</strong></p>{}", map(attempt_parts, attempts)) or "-"


def attempts_of(record: Record) -> list[dict[str, Any]]:
    """Return the attempts of a record; an empty list if the column has another content."""
    attempts: Any = record.attempts
    return [each for each in attempts if isinstance(each, dict)] if isinstance(attempts, list) else []


def attempt_parts(attempt: dict[str, Any]) -> tuple[str, str]:
    """Return the line of an attempt, and its traceback."""
    return " · ".join(summary(attempt)), traceback_of_attempt(attempt)


def summary(attempt: dict[str, Any]) -> Iterable[str]:
    """Yield the number, the times, the worker and the exception of an attempt."""
    yield gettext("Attempt %s") % text_of(attempt.get("number"))
    for key, label in (("started_at", gettext("started %s")), ("finished_at", gettext("finished %s"))):
        if value := attempt.get(key):
            yield label % with_seconds(parse_datetime(value))
    if attempt.get("duration") is not None:
        yield gettext("%s seconds") % text_of(attempt["duration"])
    for key in ("worker", "exception_class"):
        if value := attempt.get(key):
            yield text_of(value)


def traceback_of_attempt(attempt: dict[str, Any]) -> str:
    """Return the traceback of an attempt in a monospaced block; an empty text if there is none."""
    return as_html(beginning(text_of(attempt.get("traceback") or ""), MAX_TRACEBACK_CHARACTERS))
