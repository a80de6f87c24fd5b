"""Admin pages of queued packages."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from django.contrib import admin
from django.utils.translation import gettext_lazy as _
from django_q.settings import current_settings
from django_q.text import text_of

from django_q_orm.models import OrmQ

if TYPE_CHECKING:
    from collections.abc import Callable

    from django.db.models import QuerySet
    from django.http import HttpRequest


@admin.register(OrmQ)
class QueueAdmin(admin.ModelAdmin):  # pyrefly: ignore[implicit-any-type-argument] - Django's takes none
    """Queued tasks, which can be read, postponed, moved to another queue and deleted.

    The admin index lists them only while the database is the broker.
    """

    list_display = ("id", "key", "task_id", "name", "func", "lock")
    list_filter = ("key",)
    fields = ("key", "lock", "task_id", "name", "group", "func", "args", "kwargs", "q_options")
    readonly_fields = ("task_id", "name", "group", "func", "args", "kwargs", "q_options")

    @admin.display(description=_("task id"))
    def task_id(self, row: OrmQ) -> str:
        """Return the id of the task; `*` and the reason if the package is unreadable."""
        return shown(lambda: row.metadata.get("id"))

    @admin.display(description=_("name"))
    def name(self, row: OrmQ) -> str:
        """Return the name of the task."""
        return shown(lambda: row.metadata.get("name"))

    @admin.display(description=_("function"))
    def func(self, row: OrmQ) -> str:
        """Return the dotted path of the function."""
        return shown(lambda: row.metadata.get("func"))

    @admin.display(description=_("group"))
    def group(self, row: OrmQ) -> str:
        """Return the group of the task."""
        return shown(lambda: row.metadata.get("group"))

    @admin.display(description=_("arguments"))
    def args(self, row: OrmQ) -> str:
        """Return the positional arguments as text."""
        return shown(row.args)

    @admin.display(description=_("keyword arguments"))
    def kwargs(self, row: OrmQ) -> str:
        """Return the keyword arguments as text."""
        return shown(row.kwargs)

    @admin.display(description=_("options"))
    def q_options(self, row: OrmQ) -> str:
        """Return the options of the package as text."""
        return shown(row.q_options)

    def has_module_permission(self, request: HttpRequest) -> bool:
        """Return True if the database is the broker: the admin index shows the page only then."""
        return bool(current_settings().orm) and super().has_module_permission(request)

    def has_add_permission(self, request: HttpRequest) -> bool:
        """Return False, because packages are created by sending tasks."""
        return False

    def get_queryset(self, request: HttpRequest) -> QuerySet[OrmQ]:
        """Return the rows of the database that the broker uses."""
        return super().get_queryset(request).using(current_settings().orm or None)

    def save_model(self, request: HttpRequest, obj: OrmQ, form: Any, change: bool) -> None:
        """Write only the changed columns, because a cluster may lease the package at the same time."""
        changed = [*form.changed_data]
        if "lock" in changed:
            obj.due, obj.own_lock = 0, None  # `lock` determines when the row is due
            changed += ["due", "own_lock"]
        obj.save(using=obj._state.db, update_fields=changed)


def shown(read: Callable[[], Any]) -> str:
    """Return a value as storable text, even if the project's `repr` raises an error. None becomes a dash."""
    try:
        value = read()
    except (Exception, SystemExit) as error:  # noqa: BLE001 - unpickling runs the project's code
        value = error
    return "-" if value is None else text_of(value)
