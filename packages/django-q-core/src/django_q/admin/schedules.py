"""Admin pages of schedules."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from django.contrib import admin
from django.db import router
from django.db.models import OuterRef, Subquery
from django.utils.html import format_html_join
from django.utils.text import Truncator
from django.utils.translation import gettext_lazy as _

from django_q.admin.filters import DropdownFilter, TextFilter
from django_q.admin.pages import Page
from django_q.admin.schedule_actions import duplicate, pause, resume, run_now
from django_q.admin.schedule_form import PREVIEW, ScheduleForm
from django_q.admin.times import with_seconds
from django_q.admin.values import breakable
from django_q.models import Schedule, Task
from django_q.models.schedule import link_to
from django_q.schedules.texts import next_runs
from django_q.settings import current_settings

if TYPE_CHECKING:
    from django.db.models import QuerySet
    from django.http import HttpRequest, HttpResponse

    class Listed(Schedule):
        """Schedule with the columns of its last task that the list reads."""

        last_name: str
        last_success: bool | None


CODE_FIELDS = (
    *("name", "func", "hook", "args", "kwargs", "schedule_type", "minutes", "cron", "cluster"),
    *("intended_date_kwarg", "catch_up", "overlap", "next_run"),
)
"""Fields of a declared schedule that are read-only in the admin: all but `repeats`, which pauses it."""

SHOWN_RUNS = 5
"""Number of runs on the page of a schedule."""


@admin.register(Schedule)
class ScheduleAdmin(Page):
    """Page of schedules. Those that code declares can only be paused."""

    form = ScheduleForm
    list_display = (
        *("title", "function", "next_run_at", "last_run", "success", "error", "schedule_type", "repeats", "in_code"),
        "id",
    )
    list_display_links = ("title", "id")
    list_filter = ("next_run", ("schedule_type", DropdownFilter), ("cluster", TextFilter), "in_code")
    search_fields = ("name", "func")
    actions = (run_now, pause, resume, duplicate)

    def get_queryset(self, request: HttpRequest) -> QuerySet[Schedule]:
        """Return the schedules, joined with their last tasks if both are in the same database."""
        schedules = super().get_queryset(request)
        if router.db_for_read(Task) != schedules.db:
            return schedules
        last = Task.objects.filter(pk=OuterRef("task"))
        return schedules.annotate(
            last_name=Subquery(last.values("name")[:1]),
            last_success=Subquery(last.values("success")[:1]),
        )

    def get_readonly_fields(self, request: HttpRequest, obj: Schedule | None = None) -> tuple[str, ...]:
        """Return the error, and the fields that code determines."""
        if obj is None:
            return ("next_runs",)
        return ("in_code", "last_error", "next_runs", *(CODE_FIELDS if obj.in_code else ()))

    def has_delete_permission(self, request: HttpRequest, obj: Schedule | None = None) -> bool:
        """Return False for a declared schedule, which the next start of a cluster would create again."""
        return super().has_delete_permission(request, obj) and not (obj and obj.in_code)

    def has_run_permission(self, request: HttpRequest) -> bool:
        """Return True if the user may run schedules."""
        user: Any = request.user
        return user.has_perm(f"{self.opts.app_label}.run_schedule")

    def row_view(
        self, request: HttpRequest, object_id: str | None, form_url: str, extra_context: dict[str, Any] | None
    ) -> HttpResponse:
        """Return the page of a schedule, with the button that shows its next runs without saving."""
        context = {"django_q_buttons": [(PREVIEW, _("Show next runs"))]} | (extra_context or {})
        return super().row_view(request, object_id, form_url, context)

    def save_model(self, request: HttpRequest, obj: Schedule, form: Any, change: bool) -> None:
        """Save only the changed columns, because the scheduler may write the others at the same time."""
        if not change:
            super().save_model(request, obj, form, change)
            return
        obj.last_error = obj.retry_at = obj.waiting_for = None
        obj.save(update_fields={*form.changed_data, "last_error", "retry_at", "waiting_for"})

    @admin.display(description=_("name"), ordering="name", empty_value="-")
    def title(self, schedule: Schedule) -> str | None:
        """Return the beginning of the name."""
        return breakable(Truncator(schedule.name).chars(60)) if schedule.name else None

    @admin.display(description=_("next run"), ordering="next_run")
    def next_run_at(self, schedule: Schedule) -> str:
        """Return the time of the next run, with seconds."""
        return with_seconds(schedule.next_run)

    @admin.display(description=_("next runs"))
    def next_runs(self, schedule: Schedule) -> str:
        """Return the next five runs in local time."""
        if not schedule.func:
            return "-"
        runs = next_runs(schedule, SHOWN_RUNS, current_settings())
        return format_html_join("", "{}<br>", ((run,) for run in runs)) or "-"

    @admin.display(description=_("last run"))
    def last_run(self, schedule: Listed) -> str | None:
        """Return a link to the last task."""
        if not hasattr(schedule, "last_success"):
            return schedule.last_run()
        if schedule.task is None or schedule.last_success is None:
            return None
        return link_to(schedule.task, schedule.last_name, success=schedule.last_success)

    @admin.display(description=_("success"), boolean=True)
    def success(self, schedule: Listed) -> bool | None:
        """Return True if the last task succeeded."""
        return schedule.last_success if hasattr(schedule, "last_success") else schedule.success()

    @admin.display(description=_("last error"))
    def error(self, schedule: Schedule) -> str:
        """Return the reason why the last slot could not be sent."""
        return breakable(Truncator(schedule.last_error or "").chars(60))
