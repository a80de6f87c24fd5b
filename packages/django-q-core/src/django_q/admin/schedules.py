"""The pages of scheduled tasks."""

from __future__ import annotations

from typing import TYPE_CHECKING

from django.contrib import admin
from django.db.models import OuterRef, Subquery
from django.utils.translation import gettext_lazy as _

from django_q.models import Schedule, Task
from django_q.models.schedule import link_to

if TYPE_CHECKING:
    from django.db.models import QuerySet
    from django.http import HttpRequest

    class Listed(Schedule):
        """A schedule with what its list fetches of the last task."""

        last_name: str
        last_success: bool | None


@admin.register(Schedule)
class ScheduleAdmin(admin.ModelAdmin):  # pyrefly: ignore[implicit-any-type-argument] - Django's takes none
    """Schedules: to be made, changed and deleted."""

    list_display = ("id", "name", "func", "schedule_type", "repeats", "cluster", "next_run", "last_run", "success")
    list_display_links = ("id", "name")
    list_filter = ("next_run", "schedule_type", "cluster")
    search_fields = ("name", "func")

    def get_queryset(self, request: HttpRequest) -> QuerySet[Schedule]:
        """Fetch each schedule together with its last task."""
        last = Task.objects.filter(pk=OuterRef("task"))
        return (
            super()
            .get_queryset(request)
            .annotate(
                last_name=Subquery(last.values("name")[:1]),
                last_success=Subquery(last.values("success")[:1]),
            )
        )

    @admin.display(description=_("last run"))
    def last_run(self, schedule: Listed) -> str | None:
        """Link to the last task."""
        if schedule.task is None or schedule.last_success is None:
            return None
        return link_to(schedule.task, schedule.last_name, success=schedule.last_success)

    @admin.display(description=_("success"), boolean=True)
    def success(self, schedule: Listed) -> bool | None:
        """Show how the last task ended."""
        return schedule.last_success
