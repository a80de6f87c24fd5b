"""The pages of packages that wait in the database."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from django.contrib import admin
from django_q.conf import current_settings

from django_q_orm.models import OrmQ

if TYPE_CHECKING:
    from django.db.models import QuerySet
    from django.http import HttpRequest


@admin.register(OrmQ)
class QueueAdmin(admin.ModelAdmin):  # pyrefly: ignore[implicit-any-type-argument] - Django's takes none
    """Queued tasks: to be looked into, postponed, moved to another queue and deleted.

    Listed only while the database is the broker.
    """

    list_display = ("id", "key", "task_id", "name", "func", "lock")
    list_filter = ("key",)
    fields = ("key", "lock", "task_id", "name", "group", "func", "args", "kwargs", "q_options")
    readonly_fields = ("task_id", "name", "group", "func", "args", "kwargs", "q_options")

    def has_module_permission(self, request: HttpRequest) -> bool:
        """Stay off the index where another broker is in use."""
        return bool(current_settings().orm) and super().has_module_permission(request)

    def has_add_permission(self, request: HttpRequest) -> bool:
        """Packages are made by sending tasks."""
        return False

    def get_queryset(self, request: HttpRequest) -> QuerySet[OrmQ]:
        """Look where the broker looks."""
        return super().get_queryset(request).using(current_settings().orm or None)

    def save_model(self, request: HttpRequest, obj: OrmQ, form: Any, change: bool) -> None:
        """Write only what was changed: a cluster may be taking the package at this moment."""
        obj.save(using=obj._state.db, update_fields=form.changed_data)
