"""Finished tasks → the queue, once more."""

from __future__ import annotations

from typing import TYPE_CHECKING

from django.contrib import admin, messages
from django.utils.translation import gettext_lazy as _
from django.utils.translation import ngettext

from django_q.exceptions import UnknownFunction
from django_q.execution import resolve
from django_q.tasks import async_task

if TYPE_CHECKING:
    from django.contrib.admin import ModelAdmin
    from django.db.models import QuerySet
    from django.http import HttpRequest

    from django_q.models import Task


@admin.action(description=_("Resubmit selected tasks to queue"))
def resubmit_task(model_admin: ModelAdmin[Task], request: HttpRequest, queryset: QuerySet[Task]) -> None:
    """Queue tasks again, as new ones: a failure that is queued again is no longer listed."""
    count = 0
    for task in queryset:
        try:
            resolve(task.func)
        except UnknownFunction as error:
            model_admin.message_user(request, str(error), messages.ERROR)
            continue
        resubmit(task)
        count += 1
    if count:
        sentence = ngettext("%(count)d task was resubmitted.", "%(count)d tasks were resubmitted.", count)
        model_admin.message_user(request, sentence % {"count": count}, messages.SUCCESS)


retry_failed = resubmit_task
"""The action's name in django-q."""


def resubmit(task: Task) -> str:
    """Queue one task again with everything the database knows of it, and return the new id."""
    options = {"hook": task.hook, "group": task.group, "cluster": task.cluster}
    new_id = async_task(task.func, *(task.args or ()), **(task.kwargs or {}), q_options=options)
    if not task.success:
        task.delete()
    return new_id
