"""Admin pages of schedules."""

from __future__ import annotations

from contextlib import suppress
from typing import TYPE_CHECKING, Any

from django import forms
from django.contrib import admin
from django.db import router
from django.db.models import OuterRef, Subquery
from django.utils import timezone
from django.utils.text import Truncator
from django.utils.translation import gettext_lazy as _

from django_q.exceptions import ScheduleError
from django_q.models import Schedule, Task
from django_q.models.schedule import link_to

if TYPE_CHECKING:
    from django.db.models import QuerySet
    from django.http import HttpRequest

    class Listed(Schedule):
        """Schedule with the columns of its last task that the list reads."""

        last_name: str
        last_success: bool | None


CODE_FIELDS = (
    *("name", "func", "hook", "args", "kwargs", "schedule_type", "minutes", "cron", "cluster"),
    *("intended_date_kwarg", "catch_up", "overlap"),
)
"""Fields of a declared schedule that the code determines. They are read-only in the admin."""


class ScheduleForm(forms.ModelForm):  # pyrefly: ignore[implicit-any-type-argument] - Django's takes none
    """Form of a schedule. An empty next run is replaced by the first slot."""

    class Meta:
        model = Schedule
        fields = "__all__"  # noqa: DJ007 - columns of the scheduler are not editable

    def __init__(self, *args: Any, **kwargs: Any) -> None:
        super().__init__(*args, **kwargs)
        for name in ("next_run", "repeats"):  # otherwise a write of the scheduler meanwhile would look like a change
            if name in self.fields:
                self.fields[name].show_hidden_initial = True
        if "next_run" not in self.fields:
            return
        self.fields["next_run"].required = False
        self.fields["next_run"].help_text = _("Empty: at once, or the first moment that the cron expression names.")
        if self.instance.pk is None:
            self.fields["next_run"].initial = None
            self.initial.pop("next_run", None)

    def clean(self) -> dict[str, Any] | None:
        """Set an empty next run to the first slot."""
        cleaned = super().clean() or self.cleaned_data
        if "next_run" in self.fields and cleaned.get("next_run") is None and not self.errors:
            draft = Schedule(**{name: cleaned.get(name) for name in ("schedule_type", "minutes", "cron")})
            with suppress(ScheduleError):  # the model reports it, too
                first = draft.recurrence().first(timezone.now())
                cleaned["next_run"] = first.moment if first else None
        return cleaned


@admin.register(Schedule)
class ScheduleAdmin(admin.ModelAdmin):  # pyrefly: ignore[implicit-any-type-argument] - Django's takes none
    """Page of schedules. Those that code declares can only be paused and moved."""

    form = ScheduleForm
    list_display = (
        *("id", "name", "func", "schedule_type", "repeats", "cluster", "next_run", "last_run", "success"),
        *("in_code", "error"),
    )
    list_display_links = ("id", "name")
    list_filter = ("next_run", "schedule_type", "cluster", "in_code")
    search_fields = ("name", "func")

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
            return ()
        return ("in_code", "last_error", *(CODE_FIELDS if obj.in_code else ()))

    def has_delete_permission(self, request: HttpRequest, obj: Schedule | None = None) -> bool:
        """Return False for a declared schedule, which the next start of a cluster would create again."""
        return super().has_delete_permission(request, obj) and not (obj and obj.in_code)

    def save_model(self, request: HttpRequest, obj: Schedule, form: Any, change: bool) -> None:
        """Save only the changed columns, because the scheduler may write the others at the same time."""
        if not change:
            super().save_model(request, obj, form, change)
            return
        obj.last_error = obj.retry_at = obj.waiting_for = None
        obj.save(update_fields={*form.changed_data, "last_error", "retry_at", "waiting_for"})

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
        return Truncator(schedule.last_error or "").chars(60)
