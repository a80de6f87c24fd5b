"""Creates schedules, with the function `schedule`."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from django.core.exceptions import ValidationError
from django.db import IntegrityError, router, transaction

from django_q.arguments import write_args, write_kwargs
from django_q.exceptions import ScheduleError
from django_q.functions import describe
from django_q.models import Schedule
from django_q.schedules.field_checks import checked_fields
from django_q.wire.options import normalise_keywords
from django_q.wire.validation import MAIN_MODULES

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping
    from datetime import datetime


def schedule(
    func: str | Callable[..., Any],
    /,
    *args: Any,
    name: str | None = None,
    hook: str | None = None,
    schedule_type: str | None = None,
    minutes: int | None = None,
    repeats: int = -1,
    next_run: datetime | None = None,
    cron: str | None = None,
    cluster: str | None = None,
    intended_date_kwarg: str | None = None,
    catch_up: bool | None = None,
    overlap: bool = True,
    **kwargs: Any,
) -> Schedule:
    """Create a schedule.

    Args:
        func: the function: its dotted path, or the function itself if it has one.
        *args: its positional arguments. All arguments must be literals, because they are saved as text.
        name: unique name of the schedule, and the group of its tasks.
        hook: dotted path of a function that is called with each finished task.
        schedule_type: one of `Schedule.TYPE`. None means the type that follows from `cron` or `minutes`; Once without
            them.
        minutes: interval of the Minutes type, in minutes.
        repeats: number of times that it is sent. -1 means no limit, and still counts down; 0 is a pause. A Once
            schedule is deleted after its run if this is negative, and kept if it is positive.
        next_run: time of the first slot. The default is now, or for the Cron type the next time of its expression.
        cron: expression of the Cron type.
        cluster: name of the only cluster that executes its tasks.
        intended_date_kwarg: name of a keyword argument that receives the slot, in ISO format.
        catch_up: True to send the slots that passed while no cluster ran; None means as the setting `catch_up` says.
        overlap: False to skip a slot while the previous task waits or runs.
        **kwargs: keyword arguments of the function, and `q_options`: a dict of options of its tasks, those of
            `async_task`, and `broker_name`: the queue to which they are sent.

    Returns:
        The saved schedule.

    Raises:
        IntegrityError: a schedule with this name exists.
        UnreadableArguments: an argument is not a literal.
        OptionError: an option does not exist or is invalid, or a field has a wrong type.
        ScheduleError: the function has no dotted path that a cluster can import, or the type is unclear.
        django.core.exceptions.ValidationError: another field is invalid, such as the cron expression.

    Source: the manual, 1.8.
    """
    fields = checked_fields(
        {
            "name": name,
            "hook": hook,
            "schedule_type": schedule_type,
            "minutes": minutes,
            "repeats": repeats,
            "cron": cron,
            "cluster": cluster,
            "intended_date_kwarg": intended_date_kwarg,
            "catch_up": catch_up,
            "overlap": overlap,
            "next_run": next_run,
        }
    )
    fields["schedule_type"] = fields["schedule_type"] or implied_type(fields) or Schedule.ONCE
    hook, next_run = fields.pop("hook"), fields.pop("next_run")
    new = Schedule(
        func=path_of(func),
        hook=path_of(hook) if hook else None,
        args=write_args(args) if args else None,
        kwargs=write_kwargs(normalise_keywords(kwargs)) if kwargs else None,
        **fields,
        **({"next_run": next_run} if next_run is not None else {}),
    )
    create(new)
    return new


def implied_type(fields: Mapping[str, Any]) -> str | None:
    """Return the type that follows from `cron` or `minutes`; None without them.

    Raises:
        ScheduleError: both are given.
    """
    if fields.get("cron") and fields.get("minutes"):
        raise ScheduleError("cron and minutes are given: choose one of them, or set schedule_type.")
    return Schedule.CRON if fields.get("cron") else Schedule.MINUTES if fields.get("minutes") else None


def create(new: Schedule) -> None:
    """Save a schedule with a new name.

    Raises:
        IntegrityError: a schedule with this name exists.
        django.core.exceptions.ValidationError: a field is invalid.
    """
    db = router.db_for_write(Schedule)
    named = Schedule.objects.using(db).filter(name=new.name)
    taken = f"A schedule named {new.name!r} exists: choose another name, or change that one."
    if new.name and named.exists():
        raise IntegrityError(taken)
    try:
        new.full_clean()
    except ValidationError as error:
        if new.name and named.exists():  # another process created it meanwhile
            raise IntegrityError(taken) from error
        raise
    try:
        with transaction.atomic(using=db):
            new.save(using=db)
    except IntegrityError as error:
        if not new.name or named.exists():
            raise IntegrityError(taken) from error
        # A schedule that was renamed by `QuerySet.update`, without `save()`, still has the key of this name.
        with transaction.atomic(using=db):
            Schedule.objects.using(db).filter(name_key=new.name).update(name_key=None)
            new.save(using=db)


def path_of(func: str | Callable[..., Any]) -> str:
    """Return the dotted path of a function.

    Raises:
        ScheduleError: it has no path, such as a lambda, or belongs to `__main__`.
    """
    path = describe(func)
    if not all(part.isidentifier() for part in path.split(".")):
        raise ScheduleError(f"{path!r} is not a dotted path: schedule a function of a module.")
    if path.partition(".")[0] in MAIN_MODULES:
        raise ScheduleError(f"{path!r} belongs to the running script, so no cluster can import it: use a module.")
    return path
