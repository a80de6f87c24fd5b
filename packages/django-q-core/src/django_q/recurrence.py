"""When a schedule is due."""

from __future__ import annotations

from croniter import croniter

from django_q import clock


def cron_error(text: str) -> str | None:
    """What is wrong with a cron expression, as a sentence; None when it can be used.

    Five fields (minute, hour, day, month, day of the week), or six with seconds at the end.
    """
    try:
        croniter(text, clock.now()).get_next()
    except (ValueError, KeyError, AttributeError, TypeError) as error:
        reason = str(error).rstrip(".")
        return f"{text!r} cannot be used as a cron expression: {reason}. Write five fields, such as '0 22 * * 1-5'."
    return None
