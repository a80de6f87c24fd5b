"""Creates schedules: the call `schedule`."""

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
    from collections.abc import Callable
    from datetime import datetime


def schedule(
    func: str | Callable[..., Any],
    /,
    *args: Any,
    name: str | None = None,
    hook: str | None = None,
    schedule_type: str = Schedule.ONCE,
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
        func: the function to schedule: its dotted path, or the function itself if it has one.
        *args: its positional arguments. All arguments are literals: they are kept as text.
        name: no other schedule has it; tasks have it as their group.
        hook: the dotted path of a function that is called with each finished task.
        schedule_type: one of `Schedule.TYPE`.
        minutes: the number of minutes of the Minutes type.
        repeats: number of runs; -1: no limit, still counting down; 0: paused. A Once schedule is deleted after
            its run if this is negative, and kept if it is positive.
        next_run: when it is due first: by default at once, and for the Cron type when its expression says.
        cron: the expression of the Cron type.
        cluster: the name of the only cluster that may run it.
        intended_date_kwarg: a keyword argument that is given the slot, in ISO format.
        catch_up: whether slots that passed while no cluster ran are made up for; None: as the setting says.
        overlap: whether it is sent while its previous task still waits or runs.
        **kwargs: keyword arguments of the function, and `q_options`: a dict of options of its tasks, as `async_task`
            takes them, and `broker_name`: the queue to send them to.

    Raises:
        IntegrityError: there is a schedule of this name.
        UnreadableArguments: an argument is not a literal.
        OptionError: an option does not exist or is invalid, or a field has a wrong type.
        ScheduleError: the function has no dotted path that a cluster can import.
        django.core.exceptions.ValidationError: something else is wrong with it, such as its cron expression.

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


def create(new: Schedule) -> None:
    """Save a schedule whose name is free.

    Raises:
        IntegrityError: another schedule has the name.
    """
    db = router.db_for_write(Schedule)
    named = Schedule.objects.using(db).filter(name=new.name)
    taken = f"There is a schedule called {new.name!r}: choose another name, or change that one."
    if new.name and named.exists():
        raise IntegrityError(taken)
    try:
        new.full_clean()
    except ValidationError as error:
        if new.name and named.exists():  # it was taken meanwhile
            raise IntegrityError(taken) from error
        raise
    try:
        with transaction.atomic(using=db):
            new.save(using=db)
    except IntegrityError as error:
        if not new.name or named.exists():
            raise IntegrityError(taken) from error
        # The name is still held by a schedule that was renamed behind our back, by `QuerySet.update`.
        with transaction.atomic(using=db):
            Schedule.objects.using(db).filter(name_key=new.name).update(name_key=None)
            new.save(using=db)


def path_of(func: str | Callable[..., Any]) -> str:
    """The dotted path of a function.

    Raises:
        ScheduleError: it has none, such as a lambda, or belongs to `__main__`.
    """
    path = describe(func)
    if not all(part.isidentifier() for part in path.split(".")):
        raise ScheduleError(f"{path!r} is not a dotted path: schedule a function of a module.")
    if path.partition(".")[0] in MAIN_MODULES:
        raise ScheduleError(f"{path!r} belongs to the running script, so no cluster can import it: use a module.")
    return path
