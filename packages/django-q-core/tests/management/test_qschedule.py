"""`manage.py qschedule`."""

from __future__ import annotations

from datetime import UTC, datetime
from io import StringIO

import pytest
from django.core.management import CommandError, call_command
from django_q.models import Schedule

pytestmark = pytest.mark.django_db

NOW = datetime(2025, 3, 28, 17, 0, tzinfo=UTC)


def output(*arguments: str) -> str:
    """Return the output of the command."""
    out = StringIO()
    call_command("qschedule", *arguments, stdout=out)
    return out.getvalue()


def test_next_five_runs_are_shown_in_local_time(settings, due):
    settings.Q_CLUSTER = settings.Q_CLUSTER | {"time_zone": "Europe/Amsterdam"}
    due(name="evening", schedule_type="D", next_run=NOW)
    assert [line.strip() for line in output().splitlines()[1:]] == [
        "2025-03-28 18:00:00 CET",
        "2025-03-29 18:00:00 CET",
        "2025-03-30 18:00:00 CEST",
        "2025-03-31 18:00:00 CEST",
        "2025-04-01 18:00:00 CEST",
    ]


def test_first_line_describes_the_schedule(due):
    schedule = due(name="all", schedule_type="C", cron="0 22 * * *", repeats=2, cluster="other", in_code=True)
    first, *runs = output().splitlines()
    assert first == f"[{schedule.pk}]  all  math.floor  Cron 0 22 * * *  cluster other  in code  2 times"
    assert len(runs) == 2


@pytest.mark.parametrize(
    ("columns", "shown"),
    [
        ({"repeats": 0}, "paused"),
        ({"next_run": None}, "never"),
        ({"schedule_type": "C", "cron": "nonsense"}, "not a cron expression"),
        ({"last_error": None, "schedule_type": "I", "minutes": None}, "number of minutes"),
    ],
)
def test_schedule_without_next_run_shows_the_reason(due, columns, shown):
    due(**columns)
    assert shown in output().splitlines()[1]


def test_errors_are_shown(due):
    due()
    Schedule.objects.update(last_error="UnknownFunction: gone")
    assert "error: UnknownFunction: gone" in output()


def test_empty_list_is_reported():
    assert output() == "There are no schedules.\n"


@pytest.mark.parametrize("by", ["name", "pk"])
def test_schedule_is_run_now_and_its_dates_stay(clockwork, due, by):
    schedule = due(name="floor", next_run=NOW, repeats=3)
    clock = clockwork()
    assert "Sent math.floor as task" in output("--run", str(getattr(schedule, by)))
    (package,) = clock.queued()
    assert (package["func"], package["group"]) == ("math.floor", "floor")
    schedule.refresh_from_db()
    assert (schedule.task, schedule.next_run, schedule.repeats) == (package["id"], NOW, 3)


def test_unknown_name_is_an_error():
    with pytest.raises(CommandError, match="0 schedules are called 'floor'"):
        output("--run", "floor")


def test_task_that_cannot_be_sent_is_an_error(due):
    due(name="floor", args="nonsense")
    with pytest.raises(CommandError, match="cannot be read"):
        output("--run", "floor")
