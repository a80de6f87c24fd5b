"""Creation of schedules: examples of the manual, names, and invalid values."""

from __future__ import annotations

import threading
from datetime import timedelta

import arrow
import pytest
from django.core.exceptions import ValidationError
from django.db import IntegrityError, connection, transaction
from django.utils import timezone
from django_q.exceptions import ScheduleError, UnreadableArguments
from django_q.models import Schedule
from django_q.tasks import schedule

pytestmark = pytest.mark.django_db


# the manual, 1.8.1


def test_the_manuals_examples_run_as_printed(clockwork):
    schedule("math.copysign", 2, -2, hook="hooks.print_result", schedule_type="D")
    Schedule.objects.create(func="math.copysign", hook="hooks.print_result", args="2,-2", schedule_type=Schedule.DAILY)
    schedule(
        "math.sqrt",
        9,
        hook="hooks.print_result",
        q_options={"timeout": 30, "broker_name": "broker_1"},
        schedule_type=Schedule.HOURLY,
    )
    schedule(
        "math.hypot",
        3,
        4,
        schedule_type=Schedule.MINUTES,
        minutes=5,
        repeats=24,
        next_run=arrow.utcnow().replace(hour=18, minute=0),
    )
    schedule("math.hypot", 3, 4, schedule_type=Schedule.CRON, cron="0 22 * * 1-5")
    schedule("math.hypot", 3, 4, schedule_type=Schedule.DAILY, cluster="my_cluster")
    schedule("django.core.management.call_command", "clearsessions", schedule_type="H")
    schedule(
        "django.core.mail.send_mail",
        "Follow up",
        "Here are some tips to get you started...",
        "from@example.com",
        ["user@example.com"],
        schedule_type=Schedule.ONCE,
        next_run=timezone.now() + timedelta(hours=1),
    )
    clock = clockwork()
    packages = clock.play(timezone.now() + timedelta(days=1, hours=2))
    sent = {(package["func"], repr(package["args"])) for package in [*packages, *clock.queued("broker_1")]}
    assert sent == {
        ("math.copysign", "(2, -2)"),
        ("math.sqrt", "(9,)"),
        ("math.hypot", "(3, 4)"),
        ("django.core.management.call_command", "('clearsessions',)"),
        (
            "django.core.mail.send_mail",
            "('Follow up', 'Here are some tips to get you started...', 'from@example.com', ['user@example.com'])",
        ),
    }


def test_arguments_are_kept_as_literals():
    made = schedule("math.hypot", 3, [4, "five"], x={"y": (None, True)}, q_options={"timeout": 5})
    assert (made.args, made.kwargs) == (
        "(3, [4, 'five'])",
        "{'x': {'y': (None, True)}, 'q_options': {'timeout': 5}}",
    )


def test_one_argument_is_one_argument(clockwork):
    schedule("math.fsum", (1, 2, 3))
    assert [package["args"] for package in clockwork().play(timezone.now())] == [((1, 2, 3),)]


def test_a_function_may_be_given_itself():
    assert schedule(timezone.now).func == "django.utils.timezone.now"


# invalid values, and the time of their error: complaint 28


@pytest.mark.parametrize("value", [object(), timedelta(hours=1), lambda: 1, Schedule, float("inf")])
def test_values_that_are_no_literals_are_refused_at_once(value):
    with pytest.raises(UnreadableArguments):
        schedule("math.floor", value)
    with pytest.raises(UnreadableArguments):
        schedule("math.floor", x=[value])
    assert not Schedule.objects.exists()


def test_a_broker_is_refused_among_the_options(clockwork):
    with pytest.raises(UnreadableArguments):
        schedule("math.floor", 1, q_options={"broker": clockwork().broker})


@pytest.mark.parametrize(
    "options",
    [
        {"schedule_type": "C", "cron": "0 0 31 2 *"},
        {"schedule_type": "C", "cron": "nonsense"},
        {"schedule_type": "C"},
        {"schedule_type": "I"},
        {"schedule_type": "X"},
        {"intended_date_kwarg": "not a name"},
    ],
)
def test_dates_that_cannot_be_are_refused(options):
    with pytest.raises(ValidationError):
        schedule("math.floor", 1, **options)


@pytest.mark.parametrize("func", ["", "no path", "math..floor", "os.system('x')"])
def test_what_is_no_dotted_path_is_refused(func):
    with pytest.raises((ValidationError, ScheduleError)):
        schedule(func, 1)


def test_a_lambda_is_refused():
    with pytest.raises(ScheduleError, match="not a dotted path"):
        schedule(lambda: 1)


# when it begins


def test_it_begins_now():
    assert abs((schedule("math.floor", 1).next_run - timezone.now()).total_seconds()) < 5


@pytest.mark.parametrize("make", [schedule, lambda func, **columns: Schedule.objects.create(func=func, **columns)])
def test_cron_begins_when_it_says(make):
    made = make("math.floor", schedule_type="C", cron="0 0 1 1 *")
    assert (made.next_run.month, made.next_run.day, made.next_run > timezone.now()) == (1, 1, True)


@pytest.mark.parametrize("make", [schedule, lambda func, **columns: Schedule.objects.create(func=func, **columns)])
def test_a_first_run_that_was_given_is_kept(make):
    first = timezone.now() + timedelta(days=3, minutes=7)
    assert make("math.floor", schedule_type="C", cron="0 0 1 1 *", next_run=first).next_run == first


def test_dates_of_arrow_are_dates():
    first = arrow.get(2030, 1, 2, 3, 4)
    assert Schedule.objects.create(func="math.floor", next_run=first).next_run == first.datetime


def test_dates_of_arrow_are_local_without_time_zones(settings):
    settings.USE_TZ, settings.TIME_ZONE = False, "Europe/Amsterdam"
    assert (
        Schedule(func="math.floor", next_run=arrow.get(2030, 1, 2, 3, 4)).next_run.isoformat() == "2030-01-02T04:04:00"
    )


# names: complaint 25


def test_a_name_is_given_once():
    schedule("math.floor", 1, name="floor")
    with pytest.raises(IntegrityError, match="'floor'"):
        schedule("math.ceil", 1, name="floor")
    assert Schedule.objects.count() == 1


def test_a_refused_name_leaves_the_callers_transaction_whole():
    schedule("math.floor", 1, name="floor")
    with transaction.atomic():
        with pytest.raises(IntegrityError):
            schedule("math.ceil", 1, name="floor")
        schedule("math.ceil", 1, name="ceil")
    assert Schedule.objects.count() == 2


def test_any_number_have_no_name():
    for name in (None, None, "", ""):
        schedule("math.floor", 1, name=name)
    assert Schedule.objects.count() == 4


def test_the_model_holds_names_too():
    Schedule.objects.create(func="math.floor", name="floor")
    with pytest.raises(IntegrityError), transaction.atomic():
        Schedule.objects.create(func="math.floor", name="floor")
    with pytest.raises(ValidationError, match="this name"):
        Schedule(func="math.floor", name="floor").full_clean()


def test_name_is_free_after_a_rename_or_deletion():
    one = schedule("math.floor", 1, name="floor")
    one.name = "other"
    one.save()
    schedule("math.floor", 1, name="floor").delete()
    schedule("math.floor", 1, name="floor")


def test_name_is_free_after_a_rename_by_update():
    schedule("math.floor", 1, name="floor")
    Schedule.objects.update(name="other")
    schedule("math.floor", 1, name="floor")
    assert sorted(Schedule.objects.values_list("name", flat=True)) == ["floor", "other"]


def test_duplicate_names_of_older_editions_can_be_saved():
    rows = [Schedule(func="math.floor", name="twice") for _ in range(2)]
    Schedule.objects.bulk_create(rows)  # as an older edition does: no row has the name
    for row in Schedule.objects.all():
        row.repeats = 5
        row.full_clean()
        row.save()
    assert list(Schedule.objects.values_list("name", "repeats")) == [("twice", 5)] * 2
    with pytest.raises(IntegrityError):
        schedule("math.floor", 1, name="twice")


@pytest.mark.django_db(transaction=True)
def test_a_name_is_given_once_in_a_race():
    racers, outcomes = 6, []
    start = threading.Barrier(racers)

    def race():
        start.wait()
        try:
            outcomes.append(schedule("math.floor", 1, name="floor").pk)
        except IntegrityError as error:
            outcomes.append(error)
        finally:
            connection.close()

    threads = [threading.Thread(target=race) for _ in range(racers)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert len(outcomes) == racers
    assert len([each for each in outcomes if isinstance(each, int)]) == 1
    assert Schedule.objects.count() == 1


@pytest.mark.parametrize(
    ("fields", "kind"),
    [
        ({"cron": "0 22 * * *"}, Schedule.CRON),
        ({"minutes": 5}, Schedule.MINUTES),
        ({}, Schedule.ONCE),
        ({"minutes": 5, "schedule_type": Schedule.DAILY}, Schedule.DAILY),
        ({"minutes": 5, "cron": "0 22 * * *", "schedule_type": Schedule.CRON}, Schedule.CRON),
    ],
)
def test_type_follows_from_the_time(fields, kind):
    assert schedule("math.hypot", 3, 4, **fields).schedule_type == kind


def test_cron_and_minutes_without_a_type_are_rejected():
    with pytest.raises(ScheduleError, match="choose one of them"):
        schedule("math.hypot", 3, 4, minutes=5, cron="0 22 * * *")
    assert not Schedule.objects.exists()
