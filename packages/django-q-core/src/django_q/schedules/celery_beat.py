"""Translates periodic tasks of django-celery-beat to arguments of `schedule`."""

from __future__ import annotations

import json
from datetime import UTC, datetime, timedelta
from typing import TYPE_CHECKING, Any, Final

from django_q.clock import in_project_time, zone_of
from django_q.exceptions import DjangoQError, ScheduleError, UnknownFunction
from django_q.functions import resolve
from django_q.models import Schedule
from django_q.recurrence import offset_at

if TYPE_CHECKING:
    from django_q.settings import ClusterSettings

SECONDS_BY_PERIOD: Final = {"days": 86_400, "hours": 3_600, "minutes": 60, "seconds": 1}
"""Length of each period of an interval, except for microseconds."""

MAX_MINUTES: Final = 32_767
"""Largest number of minutes that all databases store."""

COMPARED_DAYS: Final = 730
"""Number of days for which the offsets of two time zones are compared."""


def converted(task: Any, settings: ClusterSettings, now: datetime) -> dict[str, Any]:
    """Return the keyword arguments of `schedule` for a periodic task, with `func` and `args`.

    Args:
        task: a `PeriodicTask`.
        settings: settings with the time zone in which cron expressions are read.
        now: the present, aware.

    Raises:
        ScheduleError: the task cannot be expressed as a schedule; the message is the reason.
    """
    if task.expires is not None and task.expires <= now:
        raise ScheduleError(f"it expired at {task.expires:%Y-%m-%d %H:%M}")
    if task.task.startswith("celery."):
        raise ScheduleError("it is a task of Celery itself")
    try:
        resolve(task.task)
    except UnknownFunction as error:
        raise ScheduleError(f"no function has the path {task.task!r}") from error
    arguments, keywords = read_json(task.args or "[]", list), read_json(task.kwargs or "{}", dict)
    cluster = task.queue or (None if settings.is_default_cluster else settings.list_key)
    options = {"name": task.name, "cluster": cluster, "repeats": repeats_of(task)}
    return {"func": task.task, "args": arguments, **options, **when(task, settings, now), **keywords}


def read_json(text: str, kind: type) -> Any:
    """Read arguments.

    Raises:
        ScheduleError: the text is no JSON of this type.
    """
    try:
        value = json.loads(text)
    except ValueError as error:
        raise ScheduleError(f"its arguments are no JSON: {error}") from error
    if not isinstance(value, kind):
        raise ScheduleError(f"its arguments are a {type(value).__name__}, expected a {kind.__name__}")
    return value


def repeats_of(task: Any) -> int:
    """Return 0 for a disabled task, 1 for a one-off task, and otherwise -1 for no limit."""
    if not task.enabled:
        return 0
    return 1 if task.one_off and task.clocked is None else -1


def when(task: Any, settings: ClusterSettings, now: datetime) -> dict[str, Any]:
    """Return the type of the schedule and its first slot.

    Raises:
        ScheduleError: there is no such type.
    """
    start = task.start_time if task.start_time is not None and task.start_time > now else None
    if task.clocked is not None:
        return {"schedule_type": Schedule.ONCE, "next_run": in_project_time(task.clocked.clocked_time)}
    if task.crontab is not None:
        fields: dict[str, Any] = {"schedule_type": Schedule.CRON, "cron": cron_of(task.crontab, settings, now)}
        return fields if start is None else {**fields, "next_run": in_project_time(start)}
    if task.interval is not None:
        length = timedelta(seconds=seconds_of(task.interval))
        due = max(now, task.last_run_at + length) if task.last_run_at else now
        return {**interval_of(task.interval), "next_run": in_project_time(start or due)}
    raise ScheduleError("it follows the sun, which no type of schedule does")


def seconds_of(interval: Any) -> int:
    """Return the length of an interval in seconds; 0 for one in microseconds."""
    return interval.every * SECONDS_BY_PERIOD.get(interval.period, 0)


def interval_of(interval: Any) -> dict[str, Any]:
    """Return the type of the schedule for an interval.

    Raises:
        ScheduleError: there is no such type.
    """
    seconds = seconds_of(interval)
    minutes, rest = divmod(seconds, 60)
    if minutes and not rest and minutes <= MAX_MINUTES:
        return {"schedule_type": Schedule.MINUTES, "minutes": minutes}
    if seconds and not minutes and 60 % seconds == 0:
        return {"schedule_type": Schedule.CRON, "cron": f"* * * * * */{seconds}"}
    raise ScheduleError(f"its interval, {interval.every} {interval.period}, is not a number of minutes")


def cron_of(crontab: Any, settings: ClusterSettings, now: datetime) -> str:
    """Return a cron expression in the time zone of the settings.

    Raises:
        ScheduleError: none has the same times.
    """
    days = (crontab.day_of_month, crontab.month_of_year, crontab.day_of_week)
    if "*" not in (crontab.day_of_month, crontab.day_of_week):
        raise ScheduleError("it names days of the month and of the week; in Celery both must match, in cron either")
    hour, shift = crontab.hour, hours_between(str(crontab.timezone), settings.time_zone or "UTC", now)
    if shift:
        hours = hour.split(",")
        if days != ("*", "*", "*") or not all(each.strip().isdecimal() for each in hours):
            raise other_zone(crontab.timezone, settings)
        hour = ",".join(map(str, sorted((int(each) + shift) % 24 for each in hours)))
    elif shift is None:
        raise other_zone(crontab.timezone, settings)
    return " ".join([crontab.minute, hour, *days])


def other_zone(zone: object, settings: ClusterSettings) -> DjangoQError:
    """Return the error for a time zone whose times the settings cannot express."""
    return ScheduleError(
        f"its time zone is {zone}, and that of the cluster {settings.time_zone or 'UTC'}: import it with --name NAME, "
        f"for ALT_CLUSTERS = {{NAME: {{'time_zone': '{zone}'}}}}, and run that cluster"
    )


def hours_between(theirs: str, ours: str, now: datetime) -> int | None:
    """Return the hours by which clocks of one time zone are ahead of another.

    Args:
        theirs: IANA name of the zone of the crontab.
        ours: IANA name of the other one.
        now: the present.

    Returns:
        The difference of ours to theirs; None if it changes within two years, or is no number of hours.
    """
    days = [now.astimezone(UTC) + timedelta(days=day) for day in range(COMPARED_DAYS)]
    here, there = zone_of(ours), zone_of(theirs)
    found = {offset_at(day, here) - offset_at(day, there) for day in days}
    if len(found) > 1 or any(each % timedelta(hours=1) for each in found):
        return None
    return found.pop() // timedelta(hours=1)
