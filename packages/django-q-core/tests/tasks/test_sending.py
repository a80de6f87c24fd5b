"""Calls that put tasks on a queue."""

from __future__ import annotations

import asyncio
import threading
import timeit
from datetime import UTC, datetime, timedelta
from functools import partial

import pytest
from django.db import transaction
from django_q import signals
from django_q.brokers import get_broker
from django_q.brokers.memory import MemoryBroker
from django_q.exceptions import OptionError, UnsendableTask
from django_q.models import Schedule, Task
from django_q.tasks import aasync_task, afetch, aresult, async_bulk, async_iter, async_task, fetch, result
from django_q.tasks.sending import deliver

pytestmark = pytest.mark.django_db


class Impatient(MemoryBroker):
    """Holds nothing back for more than a minute."""

    supports_delay = 60


def fail():
    raise ValueError("no")


def show(*args, **kwargs):
    return args, kwargs


def add_one(values):
    values.append(1)
    return values


async def coroutine(value):
    await asyncio.sleep(0)
    return value


# what is sent


def test_callers_dictionaries_are_not_changed(turns):
    q_options = {"task_name": "mine", "group": "g", "cached": None}
    kwargs = {"timeout": 3, "value": [1]}
    async_task(show, q_options=q_options, **kwargs)
    assert q_options == {"task_name": "mine", "group": "g", "cached": None}
    assert kwargs == {"timeout": 3, "value": [1]}


def test_keyword_that_is_in_q_options_too_goes_to_the_function(turns):
    task_id = async_task(show, timeout="theirs", delay=3, q_options={"timeout": 30, "delay": 0}, group="g")
    turns.all()
    assert result(task_id) == ((), {"timeout": "theirs", "delay": 3})
    assert fetch(task_id).group == "g"


def test_timeout_of_none_is_none(turns):
    task_id = async_task("math.floor", 1.5, timeout=None)
    turns.all()
    assert result(task_id) == 1


def test_dotted_path_is_not_imported_by_the_sender(turns):
    task_id = async_task("only.the.cluster.has.it", ack_failure=True)
    turns.all()
    assert "No module named 'only'" in result(task_id)


# what is refused


@pytest.mark.parametrize(
    ("func", "said"),
    [
        (lambda: 1, "is a lambda"),
        (partial(show, lambda: 1), "function of"),
        (3, "is a int"),
        (None, "is a NoneType"),
        (" ", "needs a function"),
    ],
)
@pytest.mark.parametrize("sync", [True, False])
def test_function_that_no_cluster_can_import_is_refused(turns, func, said, sync):
    with pytest.raises(UnsendableTask, match=said):
        async_task(func, sync=sync)
    assert turns.broker.queue_size() == 0


def test_local_function_is_refused(turns):
    def local():
        """Is nowhere."""

    with pytest.raises(UnsendableTask, match="inside another function"):
        async_task(local)


@pytest.mark.parametrize(
    ("args", "kwargs", "said"),
    [
        ((1, threading.Lock()), {}, "argument 2 of .*show is a _thread.lock"),
        ((), {"file": (i for i in ())}, "argument 'file' of .*generator"),
        ((), {"hook": lambda task: task}, "option 'hook'"),
    ],
)
def test_what_cannot_be_pickled_is_named(turns, args, kwargs, said):
    with pytest.raises(UnsendableTask, match=said):
        async_task(show, *args, **kwargs)
    with pytest.raises(UnsendableTask, match=said):
        async_task(show, *args, sync=True, **kwargs)
    assert not Task.objects.exists()


def test_unknown_option_is_refused_with_what_was_perhaps_meant(turns):
    with pytest.raises(OptionError, match="'timout' is not an option of a task: did you mean 'timeout'"):
        async_task(show, q_options={"timout": 3})
    with pytest.raises(OptionError, match="there are hook, group"):
        async_task(show, q_options={"xyzzy": 3})
    with pytest.raises(OptionError, match="give a dict"):
        async_task(show, q_options=["timeout"])


def test_unknown_keywords_are_the_functions_own(turns):
    task_id = async_task(show, timout=3)
    turns.all()
    assert result(task_id) == ((), {"timout": 3})


# many


def test_bulk_is_one_round_trip_and_gives_the_ids_in_order(turns, monkeypatch):
    trips = []
    enqueue_many = type(turns.broker).enqueue_many
    monkeypatch.setattr(
        type(turns.broker),
        "enqueue_many",
        lambda self, packages: trips.append(len(packages)) or enqueue_many(self, packages),
    )
    ids = async_bulk(((show, (i,), {"key": i}) for i in range(5)), group="bulk", timeout=3)
    assert trips == [5]
    turns.all()
    assert [result(task_id) for task_id in ids] == [((i,), {"key": i}) for i in range(5)]
    assert Task.get_group_count("bulk") == 5


def test_bulk_takes_shorter_forms_and_options_of_one_task(turns):
    tasks = ["time.time", ("math.floor", [1.5]), ("math.floor", (2.5,), {"task_name": "one", "group": "own"})]
    ids = async_bulk(tasks, group="all")
    turns.all()
    assert [fetch(task_id).group for task_id in ids] == ["all", "all", "own"]
    assert fetch("one").result == 2
    assert tasks[2][2] == {"task_name": "one", "group": "own"}


def test_bulk_sends_all_or_nothing_of_what_can_be_checked(turns):
    with pytest.raises(UnsendableTask):
        async_bulk([("math.floor", (1,)), (show, (threading.Lock(),))])
    with pytest.raises(OptionError, match="did you mean 'timeout'"):
        async_bulk([("math.floor", (1,))], timout=1)
    with pytest.raises(OptionError, match="whole call"):
        async_bulk([("math.floor", (1,), {"sync": True})])
    assert turns.broker.queue_size() == 0
    assert async_bulk([]) == []


def test_bulk_in_sync_mode():
    ids = async_bulk([("math.floor", (1.5,)), (fail,)], sync=True)
    assert [fetch(task_id).success for task_id in ids] == [True, False]


# later


@pytest.mark.parametrize(
    "when",
    [
        {"delay": 30},
        {"delay": timedelta(seconds=30)},
        {"eta": datetime.now(UTC) + timedelta(minutes=30)},
    ],
)
def test_broker_holds_back_what_it_can(turns, when):
    async_task("math.floor", 1.5, **when)
    assert turns.turn() == 0
    assert not Schedule.objects.exists()


@pytest.mark.parametrize("when", [{"delay": 0}, {"delay": -3}, {"eta": datetime(2020, 1, 1, tzinfo=UTC)}])
def test_moment_that_has_passed_is_now(turns, when):
    async_task("math.floor", 1.5, **when)
    assert turns.turn() == 1


def test_schedule_holds_back_what_the_broker_cannot(make_turns, settings):
    settings.Q_CLUSTER = settings.Q_CLUSTER | {"broker_class": Impatient}
    turns = make_turns()
    async_task("math.floor", 1.5, delay=59)
    assert not Schedule.objects.exists()
    argument = threading.current_thread  # no literal: the schedule keeps the package as it is
    task_id = async_task(show, argument, delay=3600)
    schedule = Schedule.objects.get()
    assert abs(schedule.next_run - datetime.now(UTC) - timedelta(hours=1)) < timedelta(minutes=1)
    assert (schedule.schedule_type, schedule.repeats) == ("O", -1)
    deliver(*eval(schedule.args))
    turns.turn()
    assert result(task_id) == ((argument,), {})


def test_scheduler_sends_what_a_schedule_holds_back(make_turns, settings, clockwork):
    settings.Q_CLUSTER = settings.Q_CLUSTER | {"broker_class": Impatient}
    turns = make_turns()
    task_id = async_task("math.floor", 1.5, delay=3600)
    works = clockwork()
    works.turn(datetime.now(UTC) + timedelta(hours=2))
    turns.all()
    assert result(task_id) == 1
    assert not Schedule.objects.exists()
    assert Task.objects.count() == 1


def test_own_broker_that_cannot_wait_is_refused_where_a_schedule_would_send_elsewhere(make_turns, settings):
    settings.Q_CLUSTER = settings.Q_CLUSTER | {"broker_class": Impatient}
    make_turns()
    with pytest.raises(OptionError, match="cluster="):
        async_task("math.floor", 1.5, delay=3600, broker=get_broker("elsewhere"))


@pytest.mark.parametrize("when", [{"delay": 1, "eta": datetime.now(UTC)}, {"delay": "1"}, {"delay": True}, {"eta": 5}])
def test_nonsense_is_refused(turns, when):
    with pytest.raises(OptionError):
        async_task("math.floor", 1.5, **when)


# after the transaction


@pytest.mark.django_db(transaction=True)
@pytest.mark.parametrize("how", ["option", "setting"])
def test_task_is_sent_when_the_transaction_commits(make_turns, settings, how):
    if how == "setting":
        settings.Q_CLUSTER = settings.Q_CLUSTER | {"on_commit": True}
    turns = make_turns()
    option = {"on_commit": True} if how == "option" else {}
    values = []
    with transaction.atomic():
        task_id = async_task(add_one, values, **option)
        values.append("changed afterwards")
        assert turns.broker.queue_size() == 0
    turns.all()
    assert result(task_id) == [1]


@pytest.mark.django_db(transaction=True)
def test_task_is_not_sent_when_the_transaction_rolls_back(turns):
    with transaction.atomic():
        async_task("math.floor", 1.5, on_commit=True)
        async_iter("math.floor", [1.5], on_commit=True)
        async_bulk([("math.floor", (1.5,))], on_commit="default")
        transaction.set_rollback(True)
    assert turns.broker.queue_size() == 0


@pytest.mark.django_db(transaction=True)
def test_without_a_transaction_it_is_sent_at_once(turns):
    async_task("math.floor", 1.5, on_commit=True)
    assert turns.broker.queue_size() == 1


@pytest.mark.django_db(transaction=True)
def test_option_wins_over_the_setting(make_turns, settings):
    settings.Q_CLUSTER = settings.Q_CLUSTER | {"on_commit": True}
    turns = make_turns()
    with transaction.atomic():
        async_task("math.floor", 1.5, on_commit=False)
        assert turns.broker.queue_size() == 1


@pytest.mark.django_db(transaction=True)
def test_sync_task_runs_when_the_transaction_commits():
    with transaction.atomic():
        task_id = async_task("math.floor", 1.5, sync=True, on_commit=True)
        assert fetch(task_id) is None
    assert result(task_id) == 1


# sync mode


def test_sync_task_is_saved_success_or_failure_and_needs_no_broker(settings):
    settings.Q_CLUSTER = {"name": "sync", "redis": {"host": "nowhere.invalid"}}
    assert fetch(async_task("math.floor", 1.5, sync=True)).result == 1
    task = fetch(async_task("my.buggy.code", sync=True))
    assert not task.success
    assert "No module named 'my'" in task.result


@pytest.mark.parametrize(("options", "most"), [({"save": False}, 0.001), ({}, 0.005)])
def test_sync_task_costs_little(settings, options, most):
    settings.Q_CLUSTER = {"name": "sync", "redis": {"host": "nowhere.invalid"}, "save_limit": 0}
    best = min(timeit.repeat(lambda: async_task("math.floor", 1.5, sync=True, **options), number=50, repeat=10)) / 50
    print(f"\n{options}: {best * 1e6:.0f} µs")
    assert best < most


def test_sync_raises_lets_the_exception_through_and_saves_the_failure(settings):
    settings.Q_CLUSTER = settings.Q_CLUSTER | {"sync": True, "sync_raises": True}
    with pytest.raises(ValueError, match="no"):
        async_task(fail)
    assert not Task.objects.get().success


# asynchronous callers


@pytest.mark.django_db(transaction=True)
def test_asynchronous_callers(turns):
    async def call():
        task_id = await aasync_task(coroutine, 7, sync=True)
        return await aresult(task_id), (await afetch(task_id)).success

    assert asyncio.run(call()) == (7, True)


# signals


def test_pre_enqueue_may_change_the_package(turns):
    def rename(sender, task, **kwargs):
        task["name"] = "renamed"

    signals.pre_enqueue.connect(rename)
    try:
        async_task("math.floor", 1.5)
        async_iter("math.floor", [1.5])
    finally:
        signals.pre_enqueue.disconnect(rename)
    assert [package["name"] for package in turns.waiting()] == ["renamed", "renamed"]
