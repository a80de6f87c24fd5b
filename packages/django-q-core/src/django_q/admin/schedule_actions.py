"""Admin actions of schedules: run now, pause, resume, duplicate."""

from __future__ import annotations

from itertools import count
from typing import TYPE_CHECKING, Any

from django.contrib import admin, messages
from django.db import transaction
from django.utils import timezone
from django.utils.translation import gettext, ngettext
from django.utils.translation import gettext_lazy as _

from django_q.admin.pages import quoted, tell
from django_q.brokers import get_broker
from django_q.exceptions import BrokerUnavailable, ScheduleError
from django_q.models import Schedule
from django_q.schedules.due import DueSchedules
from django_q.settings import current_settings
from django_q.text import one_line

if TYPE_CHECKING:
    from django.contrib.admin import ModelAdmin
    from django.db.models import QuerySet
    from django.http import HttpRequest

NAME_CHARACTERS = 100
"""Maximum length of a name."""


@admin.action(description=_("Run selected schedules now"), permissions=["run"])
def run_now(model_admin: ModelAdmin[Schedule], request: HttpRequest, queryset: QuerySet[Schedule]) -> None:
    """Send the task of each schedule now. Its dates and repeats do not change."""
    settings, sent = current_settings(), 0
    for schedule in queryset:
        try:
            broker = get_broker(schedule.cluster or None, settings=settings)
            task_id = DueSchedules(settings, broker).run_now(schedule)
        except BrokerUnavailable as error:
            tell(model_admin, request, _("The broker is unavailable, nothing more was sent: %s"), error)
            break
        except Exception as error:  # noqa: BLE001 - arguments and options may be anything
            tell(model_admin, request, _("%(name)s was not sent: %%s") % {"name": quoted(schedule)}, error)
            continue
        sent += 1
        model_admin.log_change(request, schedule, gettext("Sent now as task %s.") % task_id)
    report(model_admin, request, sent, ngettext("%(count)d task was sent.", "%(count)d tasks were sent.", sent))


@admin.action(description=_("Pause selected schedules"), permissions=["change"])
def pause(model_admin: ModelAdmin[Schedule], request: HttpRequest, queryset: QuerySet[Schedule]) -> None:
    """Set the repeats to zero."""
    paused = 0
    for schedule in queryset.exclude(repeats=0):
        change(model_admin, request, schedule, gettext("Paused."), repeats=0)
        paused += 1
    sentence = ngettext("%(count)d schedule is paused.", "%(count)d schedules are paused.", paused)
    report(model_admin, request, paused, sentence)


@admin.action(description=_("Resume selected schedules"), permissions=["change"])
def resume(model_admin: ModelAdmin[Schedule], request: HttpRequest, queryset: QuerySet[Schedule]) -> None:
    """Let paused schedules run again without limit, from their next slot on. Slots in the pause are not made up for."""
    resumed = 0
    for schedule in queryset.filter(repeats=0):
        try:
            change(model_admin, request, schedule, gettext("Resumed."), **resumed_columns(schedule))
        except ScheduleError as error:
            tell(model_admin, request, _("A schedule was not resumed: %s"), error)
            continue
        resumed += 1
    sentence = ngettext("%(count)d schedule runs again.", "%(count)d schedules run again.", resumed)
    report(model_admin, request, resumed, sentence)


@admin.action(description=_("Duplicate selected schedules"), permissions=["add"])
def duplicate(model_admin: ModelAdmin[Schedule], request: HttpRequest, queryset: QuerySet[Schedule]) -> None:
    """Create a paused copy of each schedule, to be edited and resumed."""
    copied = 0
    for schedule in queryset:
        copy = copy_of(schedule)
        with transaction.atomic(using=schedule._state.db):
            copy.save(using=schedule._state.db)
            model_admin.log_addition(request, copy, gettext("Duplicated from %s.") % one_line(schedule))
        copied += 1
    sentence = ngettext("%(count)d paused copy was created.", "%(count)d paused copies were created.", copied)
    report(model_admin, request, copied, sentence)


def change(
    model_admin: ModelAdmin[Schedule], request: HttpRequest, schedule: Schedule, message: str, **columns: Any
) -> None:
    """Save some columns of a schedule, because the scheduler may write the others, and log it."""
    for name, value in columns.items():
        setattr(schedule, name, value)
    with transaction.atomic(using=schedule._state.db):
        schedule.save(update_fields={*columns})
        model_admin.log_change(request, schedule, message)


def resumed_columns(schedule: Schedule) -> dict[str, Any]:
    """Return the columns of a paused schedule that runs again. A Once schedule runs one more time and is kept."""
    if schedule.schedule_type == Schedule.ONCE:
        return {"repeats": 1, "next_run": schedule.next_run or timezone.now()}
    slot, now = schedule.slot(), timezone.now()
    following = schedule.recurrence().first(now) if slot is None else slot
    if slot is not None and schedule.next_run is not None and schedule.next_run <= now:
        following = schedule.recurrence().skip(slot, now)
    if following is None:
        raise ScheduleError(gettext("It has no next run."))
    schedule.move_to(following)
    return {"repeats": -1, "next_run": schedule.next_run, "wall": schedule.wall}


def copy_of(schedule: Schedule) -> Schedule:
    """Return an unsaved, paused copy of a schedule. Code does not declare it, even if it declares the original."""
    own = ("id", "name", "name_key", "task", "repeats", "runs", "in_code", "last_error", "retry_at", "waiting_for")
    columns = {field.name: getattr(schedule, field.name) for field in schedule._meta.concrete_fields}
    kept = {name: value for name, value in columns.items() if name not in own}
    return Schedule(**kept, name=free_name(schedule), repeats=0)


def free_name(schedule: Schedule) -> str | None:
    """Return a name for the copy of a schedule that no other has; None if the schedule has none."""
    if not schedule.name:
        return None
    for number in count(1):
        end = gettext(" (copy)") if number == 1 else gettext(" (copy %d)") % number
        name = schedule.name[: NAME_CHARACTERS - len(end)] + end
        if not schedule.others_named(name).exists():
            return name
    return None


def report(model_admin: ModelAdmin[Schedule], request: HttpRequest, number: int, sentence: str) -> None:
    """Show how many schedules an action has changed."""
    model_admin.message_user(request, sentence % {"count": number}, messages.SUCCESS if number else messages.WARNING)
