"""Due slots are sent once, and the next slots are those of the manual."""

from __future__ import annotations

from datetime import UTC, datetime, timedelta
from zoneinfo import ZoneInfo

import pytest
from django.db import connection
from django.test.utils import CaptureQueriesContext
from django_q.brokers.memory import MemoryBroker
from django_q.exceptions import BrokerUnavailable, PackageTooLarge, mark_sent
from django_q.models import Schedule, Task
from django_q.signals import pre_enqueue
from django_q.wire.codec import PackageCodec

pytestmark = pytest.mark.django_db

NOW = datetime(2025, 6, 2, 12, 0, tzinfo=UTC)
HOUR = timedelta(hours=1)
SECOND = timedelta(seconds=1)


# sent packages


def test_a_due_schedule_becomes_a_task(clockwork, due):
    schedule = due(name="floor", kwargs="x=1, y='two'", hook="hooks.print_result")
    (package,) = clockwork().play()
    assert (package["func"], package["args"]) == ("math.floor", (1.5,))
    assert package["kwargs"] == {"x": 1, "y": "two"}
    assert (package["hook"], package["group"]) == ("hooks.print_result", "floor")
    schedule.refresh_from_db()
    assert schedule.task == package["id"]
    assert package["schedule"] == str(schedule.pk)
    assert schedule.next_run == NOW + HOUR


def test_what_is_not_due_waits(clockwork, due):
    due(next_run=NOW + SECOND)
    assert clockwork().play() == []


def test_the_id_is_the_group_of_a_schedule_without_a_name(clockwork, due):
    schedule = due()
    assert [package["group"] for package in clockwork().play()] == [str(schedule.pk)]


@pytest.mark.parametrize("kwargs", ["{'q_options': {'group': 'mine', 'timeout': 30}}", "group='mine', timeout=30"])
def test_options_are_not_given_to_the_function(clockwork, due, kwargs):
    due(kwargs=kwargs)
    (package,) = clockwork().play()
    assert (package["group"], package["timeout"], package["kwargs"]) == ("mine", 30, {})


@pytest.mark.parametrize("change", [str.swapcase, "{} ".format])
def test_schedule_of_a_cluster_of_a_similar_name_is_left(clockwork, due, change):
    clock = clockwork()
    due(cluster=change(clock.settings.list_key))
    schedule = due(cluster=clock.settings.list_key)
    assert [package["schedule"] for package in clock.play()] == [str(schedule.pk)]


@pytest.mark.parametrize("option", ["cluster", "broker_name"])
def test_an_option_names_the_queue(clockwork, due, option):
    due(kwargs=f"q_options={{'{option}': 'elsewhere'}}")
    clock = clockwork()
    assert clock.play() == []
    (package,) = clock.queued("elsewhere")
    assert package["cluster"] == "elsewhere"


def test_the_intended_date_is_the_slot_not_the_time_it_is_sent(clockwork, due):
    due(intended_date_kwarg="day")
    (package,) = clockwork(catch_up=False).play(NOW + timedelta(minutes=5))
    assert package["kwargs"] == {"day": "2025-06-02T12:00:00+00:00"}


def test_receivers_see_scheduled_tasks_and_may_change_them(clockwork, due):
    due()

    def receive(task, **_):
        task["args"] = (9.5,)

    pre_enqueue.connect(receive)
    try:
        assert [package["args"] for package in clockwork().play()] == [(9.5,)]
    finally:
        pre_enqueue.disconnect(receive)


def test_option_that_a_receiver_makes_invalid_marks_the_schedule(clockwork, due):
    schedule = due()

    def receive(task, **_):
        task["timeout"] = "soon"

    pre_enqueue.connect(receive)
    try:
        assert clockwork().play() == []
    finally:
        pre_enqueue.disconnect(receive)
    schedule.refresh_from_db()
    assert "timeout" in schedule.last_error


def test_scheduled_tasks_are_logged_like_all_others(clockwork, due, caplog):
    due()
    with caplog.at_level("INFO", logger="django-q"):
        (package,) = clockwork().play()
    assert f"Enqueued [{clockwork().broker.list_key}] {package['id']}" in caplog.messages


# repeats


@pytest.mark.parametrize(("before", "after"), [(-1, -2), (-7, -8), (3, 2), (1, 0)])
def test_repeats_count_down(clockwork, due, before, after):
    schedule = due(repeats=before)
    clockwork().play()
    schedule.refresh_from_db()
    assert schedule.repeats == after


def test_a_schedule_is_sent_as_often_as_it_says(clockwork, due):
    due(repeats=24)
    assert len(clockwork().play(NOW + 1000 * HOUR)) == 24


def test_no_repeats_are_a_pause(clockwork, due):
    due(repeats=0)
    assert clockwork().play() == []


def test_once_is_deleted_when_its_repeats_are_negative(clockwork, due):
    due(schedule_type="O")
    assert len(clockwork().play()) == 1
    assert not Schedule.objects.exists()


def test_once_with_positive_repeats_stays_and_is_not_run_again(clockwork, due):
    schedule = due(schedule_type="O", repeats=3)
    clock = clockwork()
    assert len(clock.play()) == 1
    assert clock.play(NOW + HOUR) == []
    schedule.refresh_from_db()
    assert (schedule.repeats, schedule.next_run) == (0, NOW)


def test_once_with_new_repeats_runs_again_with_a_new_id(clockwork, due):
    due(schedule_type="O", repeats=1)
    clock = clockwork()
    first = clock.play()
    Schedule.objects.update(repeats=1)
    second = clock.play(NOW + HOUR)
    assert len(first) == len(second) == 1
    assert first[0]["id"] != second[0]["id"]


def test_a_cron_that_never_comes_again_ends(clockwork, due):
    schedule = due(schedule_type="C", cron="0 0 1 1 * 0 2020")
    assert len(clockwork().play()) == 1
    schedule.refresh_from_db()
    assert schedule.repeats == 0


# whose it is


def test_schedules_without_a_cluster_belong_to_the_default_one(clockwork, due):
    due()
    assert clockwork(cluster_name="other").play() == []
    assert len(clockwork().play()) == 1


def test_a_schedule_of_a_cluster_is_sent_by_that_one(clockwork, due):
    due(cluster="other")
    assert clockwork().play() == []
    assert len(clockwork(cluster_name="other").play()) == 1


# missed slots: complaint 26


@pytest.mark.parametrize(
    ("setting", "own", "count"), [(True, None, 6), (False, None, 1), (True, False, 1), (False, True, 6)]
)
def test_missed_slots_are_sent_or_skipped_as_catch_up_says(clockwork, due, setting, own, count):
    schedule = due(catch_up=own, intended_date_kwarg="at")
    packages = clockwork(catch_up=setting).play(NOW + 5 * HOUR + SECOND)
    assert [package["kwargs"]["at"] for package in packages] == [
        (NOW + number * HOUR).isoformat() for number in range(count)
    ]
    schedule.refresh_from_db()
    assert schedule.next_run == NOW + 6 * HOUR


def test_cron_catches_up_too(clockwork, due):
    due(schedule_type="C", cron="0 * * * *")
    assert len(clockwork().play(NOW + 5 * HOUR)) == 6


def test_long_backlog_is_sent_without_delaying_others(clockwork, due):
    due(func="math.floor", schedule_type="C", cron="* * * * * *", next_run=NOW - timedelta(seconds=1000))
    due(func="math.ceil", next_run=NOW)
    clock = clockwork()
    this_pass = clock.run_pass()
    assert this_pass.more
    assert "math.ceil" in [package["func"] for package in clock.queued()]
    assert len(clock.play()) == 1001 - (len(this_pass.sent) - 1)


# one broken schedule: complaint 28


def fails(schedule: Schedule) -> str:
    """Return the marked schedules."""
    schedule.refresh_from_db()
    assert schedule.next_run == NOW
    return schedule.last_error


@pytest.mark.parametrize(
    ("columns", "message"),
    [
        ({"args": "open('x')"}, "cannot be read as arguments"),
        ({"kwargs": "x=__import__('os')"}, "cannot be read as keyword arguments"),
        ({"kwargs": "q_options=5"}, "q_options"),
        ({"kwargs": "q_options={'cluster': 'mail-dead'}"}, "does not end in -dead"),
        ({"cluster": "mail-dead"}, "does not end in -dead"),
        ({"cluster": "mail-dead.fifo"}, "does not end in -dead"),
        ({"kwargs": "q_options={'tiemout': 5}"}, "tiemout"),
        ({"schedule_type": "C", "cron": "nonsense"}, "not a cron expression"),
        ({"schedule_type": "I", "minutes": None}, "number of minutes"),
        ({"schedule_type": "X"}, "not a type"),
        ({"func": "math.no_such_function"}, "no_such_function"),
        ({"func": "no_such_module.function"}, "no_such_module"),
    ],
)
def test_broken_schedule_is_marked_and_affects_no_other(clockwork, due, columns, message):
    due(name="before", next_run=NOW - SECOND)
    broken = due(name="broken", **columns)
    due(name="after")
    clock = clockwork()
    passes = [clock.run_pass(NOW + number * SECOND) for number in range(3)]
    assert [package["group"] for package in clock.queued()] == ["before", "after"]
    assert message in fails(broken)
    assert [schedule.pk for each in passes for schedule, _ in each.broken] == [broken.pk]


def test_a_broken_schedule_is_tried_again_later(clockwork, due):
    due(args="nonsense")
    clock = clockwork()
    clock.play()
    Schedule.objects.update(args="2.5")
    assert clock.play(NOW + 5 * SECOND) == []
    assert len(clock.play(NOW + 31 * SECOND)) == 1
    assert Schedule.objects.get().last_error is None


def test_a_corrected_schedule_is_tried_at_once(clockwork, due):
    schedule = due(args="nonsense")
    clock = clockwork()
    clock.play()
    schedule.refresh_from_db()
    schedule.args = "2.5"
    schedule.save()
    assert len(clock.play(NOW + SECOND)) == 1


class Refusing(MemoryBroker):
    """Queues all packages of a request or none."""

    requests: list[int]
    """Number of packages of each request."""

    @staticmethod
    def refusal(package: dict) -> Exception | None:
        """Return the error for a package."""

    def enqueue(self, package, *, delay=0):
        return self.enqueue_many([package])[0]

    def enqueue_many(self, packages):
        type(self).requests.append(len(packages))
        codec = PackageCodec.of(self.settings)
        if errors := [error for each in packages if (error := type(self).refusal(codec.loads(each)))]:
            raise errors[0]
        return super().enqueue_many(packages)


@pytest.fixture
def refusing(clockwork, monkeypatch):
    """Return a clockwork whose broker rejects the tasks that the test names."""

    def make(refusal):
        monkeypatch.setattr(Refusing, "requests", [], raising=False)
        monkeypatch.setattr(Refusing, "refusal", staticmethod(refusal))
        return clockwork(broker_class=Refusing)

    return make


def too_large(*groups):
    """Reject the tasks of these schedules."""
    return lambda package: PackageTooLarge("too large for this broker") if package["group"] in groups else None


def test_rejected_package_marks_its_schedule_and_delays_no_other(refusing, due):
    names = [f"number {number}" for number in range(25)]
    made = {name: due(name=name) for name in names}
    clock = refusing(too_large("number 3", "number 17"))
    assert [package["group"] for package in clock.play()] == [*names[:3], *names[4:17], *names[18:]]
    assert all("too large" in fails(made[name]) for name in ("number 3", "number 17"))
    assert Schedule.objects.filter(next_run=NOW + HOUR, last_error=None).count() == 23


def test_rejected_slot_stays_due_after_earlier_ones_were_sent(refusing, due):
    schedule = due(intended_date_kwarg="at")
    third = (NOW + 2 * HOUR).isoformat()
    clock = refusing(lambda package: PackageTooLarge("too large") if package["kwargs"]["at"] == third else None)
    assert len(clock.play(NOW + 4 * HOUR)) == 2
    schedule.refresh_from_db()
    assert (schedule.next_run, schedule.runs, schedule.repeats) == (NOW + 2 * HOUR, 2, -3)
    assert "too large" in schedule.last_error
    Refusing.refusal = staticmethod(lambda package: None)
    sent = [package["kwargs"]["at"] for package in clock.play(NOW + 4 * HOUR + timedelta(minutes=1))]
    assert sent == [(NOW + number * HOUR).isoformat() for number in (2, 3, 4)]


class Partial(MemoryBroker):
    """Queues a part of the packages, and fails once."""

    def enqueue_many(self, packages):
        error = type(self).errors.pop() if type(self).errors else None
        if error is None:
            return super().enqueue_many(packages)
        super().enqueue_many([packages[0], packages[2]])
        mark_sent(error, {0, 2})
        raise error


@pytest.mark.parametrize("kind", [BrokerUnavailable, PackageTooLarge])
def test_what_was_sent_before_an_outage_is_not_sent_again(clockwork, due, monkeypatch, kind):
    monkeypatch.setattr(Partial, "errors", [kind("in the middle")], raising=False)
    names = [f"number {number}" for number in range(5)]
    for name in names:
        due(name=name)
    clock = clockwork(broker_class=Partial)
    groups = [package["group"] for _ in range(2) for package in clock.play(NOW)]
    assert sorted(groups) == names
    assert Schedule.objects.filter(next_run=NOW + HOUR, last_error=None).count() == 5


class Unsure(MemoryBroker):
    """Queues all packages, and fails afterwards."""

    def enqueue_many(self, packages):
        super().enqueue_many(packages)
        error = BrokerUnavailable("no answer")
        mark_sent(error, range(len(packages)))
        raise error


def test_all_tasks_sent_before_an_outage_are_not_sent_again(clockwork, due):
    due(name="one")
    due(name="two")
    clock = clockwork(broker_class=Unsure)
    assert sorted(package["group"] for _ in range(2) for package in clock.play(NOW)) == ["one", "two"]
    assert Schedule.objects.filter(next_run=NOW + HOUR, last_error=None).count() == 2


def test_a_broker_that_is_down_loses_and_doubles_nothing(refusing, due):
    names = [f"number {number:02}" for number in range(25)]
    for number, name in enumerate(names):
        due(name=name, next_run=NOW - timedelta(seconds=30 - number))
    away = BrokerUnavailable("the server is away")
    clock = refusing(lambda package: away if package["group"] > "number 11" else None)
    this_pass = clock.run_pass()
    assert this_pass.own_queue_error is not None
    assert not this_pass.unavailable
    assert not this_pass.broken
    assert [schedule.name for schedule, _ in this_pass.sent] == names[:10]
    assert Refusing.requests == [10, 10]
    assert Schedule.objects.filter(last_error__contains="the server is away").count() == 1
    assert Schedule.objects.filter(runs=0).count() == 15
    Refusing.refusal = staticmethod(lambda package: None)
    assert [package["group"] for package in clock.play()] == names
    assert not Schedule.objects.exclude(last_error=None).exists()


def test_tasks_go_to_a_broker_elsewhere_in_parts(refusing, due):
    for _ in range(95):
        due()
    clock = refusing(lambda package: None)
    assert len(clock.play()) == 95
    assert Refusing.requests == [10] * 9 + [5]


def test_unavailable_broker_name_falls_back_to_the_own_queue(clockwork, due, monkeypatch):
    due(kwargs="q_options={'broker_name': 'elsewhere'}")
    clock = clockwork()
    send = MemoryBroker.enqueue

    def enqueue(self, package, *, delay=0):
        if self.list_key == "elsewhere":
            raise BrokerUnavailable("not there")
        return send(self, package, delay=delay)

    monkeypatch.setattr(MemoryBroker, "enqueue", enqueue)
    (package,) = clock.play()
    assert "cluster" not in package


def test_unavailable_other_cluster_is_marked_and_delays_no_other(clockwork, due, monkeypatch):
    broken = [due(name=f"far {number}", kwargs="q_options={'cluster': 'far'}") for number in range(3)]
    due(name="near", next_run=NOW + SECOND)
    clock = clockwork()
    send, tried = MemoryBroker.enqueue, []

    def enqueue(self, package, *, delay=0):
        if self.list_key == "far":
            tried.append(package)
            raise BrokerUnavailable("not there")
        return send(self, package, delay=delay)

    monkeypatch.setattr(MemoryBroker, "enqueue", enqueue)
    assert [package["group"] for package in clock.play(NOW + SECOND)] == ["near"]
    assert len(tried) == 1
    assert all("not there" in fails(schedule) for schedule in broken)


# overlap: complaint 23


def test_a_slot_is_skipped_while_its_previous_task_has_not_ended(clockwork, due):
    schedule = due(overlap=False)
    clock = clockwork()
    first = clock.schedules.run_pass(NOW)
    assert len(first.sent) == 1
    assert [len(clock.run_pass(NOW + number * HOUR).skipped) for number in (1, 2)] == [1, 1]
    schedule.refresh_from_db()
    assert (schedule.next_run, schedule.repeats) == (NOW + 3 * HOUR, -2)
    Schedule.task_ended(str(schedule.pk), schedule.task)
    assert len(clock.run_pass(NOW + 3 * HOUR).sent) == 1


def test_a_backlog_of_what_may_not_overlap_is_one_task(clockwork, due):
    due(overlap=False)
    assert len(clockwork().run_pass(NOW + 100 * HOUR).sent) == 1


def test_overlap_with_the_queue_in_the_database_of_the_schedules(clockwork, due):
    due(overlap=False)
    clock = clockwork()
    clock.broker.alias = "default"
    assert len(clock.run_pass(NOW + 100 * HOUR).sent) == 1


def test_unreported_success_ends_the_waiting(clockwork, due):
    schedule = due(overlap=False)
    clock = clockwork()
    clock.run_pass(NOW)
    schedule.refresh_from_db()
    Task.objects.create(id=schedule.task, name="n", func="f", started=NOW, stopped=NOW, success=True)
    assert len(clock.run_pass(NOW + HOUR).sent) == 1


def test_a_task_that_is_lost_holds_nothing_up(clockwork, due):
    due(overlap=False)
    clock = clockwork()
    clock.run_pass(NOW)
    clock.broker.delete_queue()
    assert len(clock.run_pass(NOW + HOUR).sent) == 1


# one id a slot


def test_a_slot_has_one_id_and_slots_have_different_ones(clockwork, due):
    due()
    clock = clockwork()
    ids = [package["id"] for package in clock.play(NOW + 10 * HOUR)]
    assert len(set(ids)) == 11
    Schedule.objects.update(next_run=NOW, runs=0)
    assert [package["id"] for package in clock.play(NOW + 10 * HOUR)] == ids


# the budget


def test_a_look_that_finds_nothing_is_one_statement(clockwork, due, django_assert_num_queries):
    due(next_run=NOW + HOUR)
    clock = clockwork()
    clock.run_pass()  # the first also asks whether the server accepts writes
    with django_assert_num_queries(1):
        clock.run_pass()


def test_a_look_tells_what_is_due_within_a_second(clockwork, due):
    due(next_run=NOW + timedelta(seconds=0.4))
    due(next_run=NOW + HOUR)
    assert clockwork().run_pass().next == NOW + timedelta(seconds=0.4)


def test_a_hundred_due_schedules_take_a_handful_of_statements(clockwork, due):
    for _ in range(100):
        due()
    clock = clockwork()
    with CaptureQueriesContext(connection) as queries:
        clock.run_pass()
    assert len(clock.queued()) == 100
    assert len(queries) <= 7


# time zones


def test_local_time_is_that_of_the_setting(clockwork, due):
    amsterdam = ZoneInfo("Europe/Amsterdam")
    schedule = due(schedule_type="D", next_run=datetime(2025, 3, 29, 18, 0, tzinfo=amsterdam))
    clockwork(time_zone="Europe/Amsterdam").play(datetime(2025, 3, 29, 17, 1, tzinfo=UTC))
    schedule.refresh_from_db()
    assert schedule.next_run == datetime(2025, 3, 30, 16, 0, tzinfo=UTC)


def test_a_gap_is_remembered_until_the_day_after(clockwork, due):
    amsterdam = ZoneInfo("Europe/Amsterdam")
    schedule = due(schedule_type="D", next_run=datetime(2025, 3, 29, 2, 30, tzinfo=amsterdam))
    clock, seen = clockwork(time_zone="Europe/Amsterdam"), []
    for _ in range(3):
        schedule.refresh_from_db()
        seen.append(schedule.next_run.astimezone(amsterdam).strftime("%d %H:%M"))
        clock.play(schedule.next_run)
    assert seen == ["29 02:30", "30 03:00", "31 02:30"]


def test_without_time_zones_catching_up_ends(clockwork, settings, due):
    """Cron without USE_TZ and without `catch_up` was an endless loop: Koed00/django-q#501."""
    settings.USE_TZ = False
    now = datetime(2025, 6, 2, 12, 0)
    schedule = due(schedule_type="C", cron="*/5 * * * *", next_run=now - timedelta(days=3))
    assert len(clockwork(catch_up=False, time_zone=None).play(now)) == 1
    schedule.refresh_from_db()
    assert schedule.next_run == now + timedelta(minutes=5)
