"""Admin action that sends finished tasks again."""

from __future__ import annotations

from typing import TYPE_CHECKING

from django.contrib import admin, messages
from django.db import transaction
from django.utils.translation import gettext, ngettext
from django.utils.translation import gettext_lazy as _

from django_q.admin.pages import quoted, tell
from django_q.exceptions import BrokerUnavailable
from django_q.tasks.resubmitting import resubmit_task as send_again

if TYPE_CHECKING:
    from django.contrib.admin import ModelAdmin
    from django.db.models import QuerySet
    from django.http import HttpRequest

    from django_q.models import Task


@admin.action(description=_("Resubmit selected tasks to queue"), permissions=["change"])
def resubmit_task(model_admin: ModelAdmin[Task], request: HttpRequest, queryset: QuerySet[Task]) -> None:
    """Send tasks again, as new ones. If the user may delete a failure, its row is deleted."""
    count = 0
    for task in queryset:
        try:
            new_id = send_again(task)
        except BrokerUnavailable as error:
            tell(model_admin, request, _("The broker is unavailable, nothing more was resubmitted: %s"), error)
            break
        except (Exception, SystemExit) as error:  # noqa: BLE001 - runs code of the project
            tell(model_admin, request, _("%(task)s was not resubmitted: %%s") % {"task": quoted(task)}, error)
            continue
        count += 1
        record(model_admin, request, task, new_id)
    if count:
        sentence = ngettext("%(count)d task was resubmitted.", "%(count)d tasks were resubmitted.", count)
        model_admin.message_user(request, sentence % {"count": count}, messages.SUCCESS)


retry_failed = resubmit_task
"""Name of the action in django-q."""


def record(model_admin: ModelAdmin[Task], request: HttpRequest, task: Task, new_id: str) -> None:
    """Write a `LogEntry`, and delete the row of a failure if the user may do that."""
    if not task.success and model_admin.has_delete_permission(request, task):
        try:
            with transaction.atomic(using=task._state.db):
                model_admin.log_change(request, task, gettext("Resubmitted as %s and deleted.") % new_id)
                task.delete()
        except Exception as error:  # noqa: BLE001 - for example a protecting foreign key; the task is queued
            tell(
                model_admin,
                request,
                _("%(task)s was resubmitted and cannot be deleted: %%s") % {"task": quoted(task)},
                error,
            )
        else:
            return
    model_admin.log_change(request, task, gettext("Resubmitted as %s.") % new_id)
