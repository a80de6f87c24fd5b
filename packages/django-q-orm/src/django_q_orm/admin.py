"""Admin pages of queued packages."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from django.conf import settings
from django.contrib import admin, messages
from django.db import transaction
from django.utils.translation import gettext, ngettext
from django.utils.translation import gettext_lazy as _
from django_q.admin.filters import TextFilter
from django_q.admin.pages import Page
from django_q.admin.values import MAX_LISTED_CHARACTERS, beginning, monospaced, notation
from django_q.brokers import get_broker
from django_q.brokers.bands import DEAD_SUFFIX
from django_q.clock import in_project_time, now
from django_q.exceptions import UnreadablePackage
from django_q.settings import current_settings
from django_q.text import error_line, text_of
from django_q.wire.codec import PackageCodec
from django_q.wire.metadata import described, peek

from django_q_orm.claims import RELEASED_NONCE
from django_q_orm.models import NOT_OPTIONS, OrmQ

if TYPE_CHECKING:
    from collections.abc import Callable

    from django.contrib.admin import ModelAdmin
    from django.db.models import QuerySet
    from django.http import HttpRequest


class DeadLetterFilter(admin.SimpleListFilter):
    """Shows the dead letters only, or the others."""

    title = _("dead letter")
    parameter_name = "dead"

    def lookups(self, request: HttpRequest, model_admin: Any) -> list[tuple[str, Any]]:
        """Return the choices."""
        return [("1", _("Yes")), ("0", _("No"))]

    def queryset(self, request: HttpRequest, queryset: QuerySet[OrmQ]) -> QuerySet[OrmQ]:
        """Return the rows of the chosen kind."""
        if self.value() == "1":
            return queryset.filter(key__endswith=DEAD_SUFFIX)
        return queryset.exclude(key__endswith=DEAD_SUFFIX) if self.value() == "0" else queryset


@admin.action(description=_("Requeue selected dead letters"), permissions=["requeue"])
def requeue_dead_letters(model_admin: ModelAdmin[OrmQ], request: HttpRequest, queryset: QuerySet[OrmQ]) -> None:
    """Queue dead letters again. Other rows stay as they are."""
    count = 0
    for row in queryset.filter(key__endswith=DEAD_SUFFIX):
        with transaction.atomic(using=row._state.db):
            get_broker(row.key.removesuffix(DEAD_SUFFIX)).enqueue(row.payload)
            model_admin.log_change(request, row, gettext("Requeued."))
            row.delete()
        count += 1
    sentence = ngettext("%(count)d dead letter is queued again.", "%(count)d dead letters are queued again.", count)
    model_admin.message_user(request, sentence % {"count": count}, messages.SUCCESS if count else messages.WARNING)


@admin.action(description=_("Delete selected dead letters"), permissions=["delete_dead"])
def delete_dead_letters(model_admin: ModelAdmin[OrmQ], request: HttpRequest, queryset: QuerySet[OrmQ]) -> None:
    """Delete dead letters. Other rows stay as they are."""
    count = 0
    for row in queryset.filter(key__endswith=DEAD_SUFFIX):
        with transaction.atomic(using=row._state.db):
            model_admin.log_change(request, row, gettext("Deleted."))
            row.delete()
        count += 1
    sentence = ngettext("%(count)d dead letter is deleted.", "%(count)d dead letters are deleted.", count)
    model_admin.message_user(request, sentence % {"count": count}, messages.SUCCESS if count else messages.WARNING)


@admin.register(OrmQ)
class QueueAdmin(Page):
    """Queued tasks and dead letters. With `DEBUG`, tasks can be postponed, moved to another queue and deleted.

    The admin index lists them only while the database is the broker.
    """

    list_display = ("id", "key", "state", "reason", "task_id", "name", "func", "lock")
    list_filter = (("key", TextFilter), DeadLetterFilter)
    ordering = ("-id",)
    actions = (requeue_dead_letters, delete_dead_letters)
    fields = ("key", "lock", "state", "reason", "task_id", "name", "group", "func", "args", "kwargs", "q_options")
    readonly_fields = ("state", "reason", "task_id", "name", "group", "func", "args", "kwargs", "q_options")

    @admin.display(description=_("state"))
    def state(self, row: OrmQ) -> str:
        """Return what the package does: it waits, is delayed or leased, or is a dead letter."""
        if row.key.endswith(DEAD_SUFFIX):
            return gettext("dead letter")
        if row.lock is None or in_project_time(row.lock) <= now():
            return gettext("waiting")
        is_leased = row.lease and not row.lease.startswith(RELEASED_NONCE)
        return gettext("leased") if is_leased else gettext("delayed")

    @admin.display(description=_("unreadable because"))
    def reason(self, row: OrmQ) -> str:
        """Return why the package is unreadable; a dash if it is readable."""
        try:
            peek(PackageCodec.of(current_settings()), row.payload)
        except UnreadablePackage as error:
            return beginning(error_line(error), MAX_LISTED_CHARACTERS)
        return "-"

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
        return preformatted(lambda: package_of(row).get("args"))

    @admin.display(description=_("keyword arguments"))
    def kwargs(self, row: OrmQ) -> str:
        """Return the keyword arguments as text."""
        return preformatted(lambda: package_of(row).get("kwargs"))

    @admin.display(description=_("options"))
    def q_options(self, row: OrmQ) -> str:
        """Return the options of the package as text."""
        return preformatted(lambda: {key: value for key, value in package_of(row).items() if key not in NOT_OPTIONS})

    def has_module_permission(self, request: HttpRequest) -> bool:
        """Return True if the database is the broker: the admin index shows the page only then."""
        return bool(current_settings().orm) and super().has_module_permission(request)

    def has_add_permission(self, request: HttpRequest) -> bool:
        """Return False, because packages are created by sending tasks."""
        return False

    def has_change_permission(self, request: HttpRequest, obj: OrmQ | None = None) -> bool:
        """Return True for users who may change rows, with `DEBUG` only."""
        return settings.DEBUG and super().has_change_permission(request, obj)

    def has_delete_permission(self, request: HttpRequest, obj: OrmQ | None = None) -> bool:
        """Return True for users who may delete rows: dead letters, and any row with `DEBUG`."""
        is_dead = obj is not None and obj.key.endswith(DEAD_SUFFIX)
        return (settings.DEBUG or is_dead) and super().has_delete_permission(request, obj)

    def has_delete_dead_permission(self, request: HttpRequest) -> bool:
        """Return True for users who may delete dead letters."""
        return super().has_delete_permission(request)

    def has_requeue_permission(self, request: HttpRequest) -> bool:
        """Return True for users who may requeue dead letters."""
        user: Any = request.user
        return user.has_perm("django_q_orm.requeue_ormq")

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


def package_of(row: OrmQ) -> dict[str, Any]:
    """Return the values of a package. Nothing of the project is unpickled: placeholders replace its objects.

    Raises:
        UnreadablePackage: the package cannot be read.
    """
    return described(PackageCodec.of(current_settings()), row.payload)


def shown(read: Callable[[], Any]) -> str:
    """Return a value as storable text, even if the project's `repr` raises an error. None becomes a dash."""
    try:
        value = read()
    except (Exception, SystemExit) as error:  # noqa: BLE001 - unpickling runs the project's code
        value = error
    return "-" if value is None else text_of(value)


def preformatted(read: Callable[[], Any]) -> str:
    """Return a value in the notation of Python, in a monospaced block. A large one is truncated."""
    return monospaced(beginning(notation(read)))
