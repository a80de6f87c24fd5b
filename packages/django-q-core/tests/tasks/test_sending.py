"""Tests of the calls that send tasks."""

from __future__ import annotations

import asyncio
import threading
import timeit
import uuid
from datetime import UTC, datetime, timedelta
from decimal import Decimal
from functools import partial

import pytest
from django.db import transaction
from django.db.utils import ConnectionHandler
from django_q import signals
from django_q.brokers import get_broker
from django_q.brokers.memory import MemoryBroker
from django_q.caches import sharing
from django_q.exceptions import OptionError, UnsendableTask
from django_q.models import Schedule, Task
from django_q.tasks import (
    AsyncTask,
    Chain,
    Iter,
    aasync_task,
    afetch,
    aresult,
    async_bulk,
    async_chain,
    async_iter,
    async_task,
    fetch,
    fetch_group,
    result,
    schedule,
)
from django_q.tasks.sending import deliver
from django_q.wire.links import next_link
from django_q.wire.options import NO_TIMEOUT, normalise_package
from django_q.wire.package import new_package

from tests.databases import sqlite

pytestmark = pytest.mark.django_db


class Impatient(MemoryBroker):
    """Supports delays of at most a minute."""

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


# sent packages


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


# invalid calls


@pytest.mark.parametrize(
    ("func", "message"),
    [
        (lambda: 1, "is a lambda"),
        (partial(show, lambda: 1), "function of"),
        (3, "is a int"),
        (None, "is a NoneType"),
        (" ", "needs a function"),
    ],
)
@pytest.mark.parametrize("sync", [True, False])
def test_function_that_no_cluster_can_import_is_refused(turns, func, message, sync):
    with pytest.raises(UnsendableTask, match=message):
        async_task(func, sync=sync)
    assert turns.broker.queue_size() == 0


def test_local_function_is_refused(turns):
    def local():
        """A local function, which cannot be imported."""

    with pytest.raises(UnsendableTask, match="inside another function"):
        async_task(local)


@pytest.mark.parametrize(
    ("args", "kwargs", "message"),
    [
        ((1, threading.Lock()), {}, "argument 2 of .*show is a _thread.lock"),
        ((), {"file": (i for i in ())}, "argument 'file' of .*generator"),
        ((), {"hook": lambda task: task}, "option 'hook'"),
    ],
)
def test_what_cannot_be_pickled_is_named(turns, args, kwargs, message):
    with pytest.raises(UnsendableTask, match=message):
        async_task(show, *args, **kwargs)
    with pytest.raises(UnsendableTask, match=message):
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


# options


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"timeout": "10"}, r"timeout is '10' \(str\): give a number of seconds"),
        ({"timeout": -1}, "timeout is -1"),
        ({"cached": "60"}, r"cached is '60' \(str\): give True, False or a number of seconds"),
        ({"group": ["a"]}, r"group is \['a'\] \(list\): give a label"),
        ({"task_name": {}}, "task_name is {}"),
        ({"save": "no"}, r"save is 'no' \(str\): give True or False"),
        ({"ack_failure": "yes"}, "ack_failure is 'yes'"),
        ({"cluster": "x" * 101}, "cluster is"),
    ],
)
def test_invalid_option_is_refused_by_every_call(turns, options, message):
    link = (show, (), options)
    inside = (show, (), {"q_options": options})
    whole = {name: value for name, value in options.items() if name not in ("group", "cached", "cluster")}
    for send in (
        lambda: async_task(show, **options),
        lambda: async_task(show, q_options=options),
        lambda: async_task.options(**options),
        lambda: asyncio.run(aasync_task(show, **options)),
        lambda: async_iter(show, [1], **options),
        lambda: async_bulk([show], **options),
        lambda: async_bulk([link]),
        lambda: async_bulk([inside]),
        lambda: async_task(show, chain=[link]),
        lambda: async_chain([show], **options),
        lambda: async_chain([show], q_options=options),
        lambda: async_chain([show], **whole) if whole else async_chain([link]),
        lambda: async_chain([show, link]),
        lambda: async_chain([show, inside]),
        lambda: AsyncTask(show, **options).run(),
        lambda: Iter(show, [1], options).run(),
        lambda: Chain([link]).run(),
        lambda: schedule("math.floor", 1.5, q_options=options),
        lambda: schedule("math.floor", 1.5, **options) if "cluster" not in options else async_task(show, **options),
    ):
        with pytest.raises(OptionError, match=message if "cluster" not in options else "cluster"):
            send()
    assert turns.broker.queue_size() == 0
    assert not Schedule.objects.exists()


@pytest.mark.parametrize("sync", [True, False])
def test_labels_of_any_form_are_stored_as_text(turns, sync):
    ids = [
        async_task("math.floor", 1.5, group=42, task_name=uuid.UUID(int=7), sync=sync),
        async_task("math.floor", 1.5, group="x" * 200, task_name="nul\0", sync=sync),
    ]
    iter_id = async_iter("math.floor", [1.5], group=42, task_name=7, sync=sync)
    group = async_chain(["time.time"], group=0, sync=sync)
    turns.all()
    assert [(task.group, task.name) for task in map(fetch, ids)] == [
        ("42", "00000000-0000-0000-0000-000000000007"),
        ("x" * 99 + "…", "nul\N{REPLACEMENT CHARACTER}"),
    ]
    assert (fetch(iter_id).group, fetch(iter_id).name) == ("42", "7")
    assert group == "0"
    assert len(fetch_group(0)) == 1


def test_labels_of_an_async_task_of_any_form(turns):
    task = AsyncTask("math.floor", 1.5, group=0)
    task.run()
    turns.all()
    assert task.result_group() == [1]
    chain = Chain(["time.time"], group=7)
    assert chain.run() == "7"
    turns.all()
    assert len(chain.result(wait=1000)) == 1


def test_schedule_keeps_labels_as_text(clockwork):
    made = schedule("math.floor", 1.5, q_options={"group": uuid.UUID(int=7), "timeout": None, "hook": show})
    assert made.kwargs == (
        "{'q_options': {'group': '00000000-0000-0000-0000-000000000007', 'timeout': None, "
        f"'hook': '{show.__module__}.show'}}}}"
    )
    [package] = clockwork().play(made.next_run)
    assert package["timeout"] == NO_TIMEOUT
    made = schedule("math.floor", 1.5, group=42)
    assert made.kwargs == "{'group': '42'}"


def test_link_of_an_older_producer_is_normalised_by_the_worker(turns):
    package = new_package("math.floor", (1.5,), group="g")
    package["chain"] = [("math.floor", (2.5,), {"task_name": 7, "timeout": None, "cached": Decimal(0)})]
    package["chain"].append(("math.floor", (3.5,), {"timeout": "10"}))
    turns.broker.enqueue(turns.executor.codec.dumps(package))
    turns.turn()
    [second] = turns.waiting()
    assert (second["name"], second["timeout"], second["group"]) == ("7", NO_TIMEOUT, "g")
    third = next_link(second)
    assert third["timeout"] == "10"
    with pytest.raises(OptionError, match="timeout is '10'"):
        normalise_package(third)


def test_receiver_that_spoils_a_label_spoils_no_result():
    def rename(sender, task, **kwargs):
        task["name"] = 7
        task["group"] = "x" * 200

    signals.pre_enqueue.connect(rename)
    try:
        task_id = async_task("math.floor", 1.5, sync=True)
    finally:
        signals.pre_enqueue.disconnect(rename)
    assert (fetch(task_id).name, fetch(task_id).group) == ("7", "x" * 99 + "…")


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
    async_task.options(**when)("math.floor", 1.5)
    assert turns.turn() == 0
    assert not Schedule.objects.exists()


@pytest.mark.parametrize("when", [{"delay": 0}, {"eta": datetime(2020, 1, 1, tzinfo=UTC)}])
def test_moment_that_has_passed_is_now(turns, when):
    async_task.options(**when)("math.floor", 1.5)
    assert turns.turn() == 1


def test_schedule_holds_back_what_the_broker_cannot(make_turns, settings):
    settings.Q_CLUSTER = settings.Q_CLUSTER | {"broker_class": Impatient}
    turns = make_turns()
    async_task.options(delay=59)("math.floor", 1.5)
    assert not Schedule.objects.exists()
    argument = threading.current_thread  # no literal: the schedule keeps the package as it is
    task_id = async_task.options(delay=3600)(show, argument)
    schedule = Schedule.objects.get()
    assert abs(schedule.next_run - datetime.now(UTC) - timedelta(hours=1)) < timedelta(minutes=1)
    assert (schedule.schedule_type, schedule.repeats) == ("O", -1)
    deliver(*eval(schedule.args))
    turns.turn()
    assert result(task_id) == ((argument,), {})


def test_scheduler_sends_what_a_schedule_holds_back(make_turns, settings, clockwork):
    settings.Q_CLUSTER = settings.Q_CLUSTER | {"broker_class": Impatient}
    turns = make_turns()
    task_id = async_task.options(delay=3600)("math.floor", 1.5)
    works = clockwork()
    works.run_pass(datetime.now(UTC) + timedelta(hours=2))
    turns.all()
    assert result(task_id) == 1
    assert not Schedule.objects.exists()
    assert Task.objects.count() == 1


def test_long_delay_with_an_own_broker_is_rejected(make_turns, settings):
    settings.Q_CLUSTER = settings.Q_CLUSTER | {"broker_class": Impatient}
    make_turns()
    with pytest.raises(OptionError, match="cluster="):
        async_task.options(delay=3600, broker=get_broker("elsewhere"))("math.floor", 1.5)


@pytest.mark.parametrize("when", [{"delay": 1, "eta": datetime.now(UTC)}, {"delay": "1"}, {"delay": -1}, {"eta": 5}])
def test_invalid_delay_is_rejected(turns, when):
    with pytest.raises(OptionError):
        async_task.options(**when)("math.floor", 1.5)


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
        task_id = async_task.options(**option)(add_one, values)
        values.append("changed afterwards")
        assert turns.broker.queue_size() == 0
    turns.all()
    assert result(task_id) == [1]


@pytest.mark.django_db(transaction=True)
def test_task_is_not_sent_when_the_transaction_rolls_back(turns):
    with transaction.atomic():
        async_task.options(on_commit=True)("math.floor", 1.5)
        async_iter.options(on_commit=True)("math.floor", [1.5])
        async_bulk([("math.floor", (1.5,))], on_commit="default")
        transaction.set_rollback(True)
    assert turns.broker.queue_size() == 0


@pytest.mark.django_db(transaction=True)
def test_without_a_transaction_it_is_sent_at_once(turns):
    async_task.options(on_commit=True)("math.floor", 1.5)
    assert turns.broker.queue_size() == 1


@pytest.mark.django_db(transaction=True)
def test_option_wins_over_the_setting(make_turns, settings):
    settings.Q_CLUSTER = settings.Q_CLUSTER | {"on_commit": True}
    turns = make_turns()
    with transaction.atomic():
        async_task.options(on_commit=False)("math.floor", 1.5)
        assert turns.broker.queue_size() == 1


class Router:
    def db_for_write(self, model, **hints):
        return "elsewhere"


@pytest.mark.parametrize(
    ("databases", "expected"),
    [
        ({"default": {}, "elsewhere": sqlite(":memory:")}, "elsewhere"),
        ({"default": sqlite(":memory:"), "elsewhere": {}}, "default"),
        ({"default": {}, "elsewhere": {}}, None),
    ],
)
def test_project_without_a_default_database_can_send_on_commit(turns, settings, monkeypatch, databases, expected):
    settings.DATABASE_ROUTERS = [Router()]
    handler = ConnectionHandler(databases)
    monkeypatch.setattr("django_q.tasks.routing.connections", handler)
    waited_for = []
    monkeypatch.setattr(transaction, "on_commit", lambda work, using: (waited_for.append(using), work()))
    async_task.options(on_commit=True)("math.floor", 1.5)
    assert waited_for == ([expected] if expected else [])
    assert turns.broker.queue_size() == 1


@pytest.mark.django_db(transaction=True)
def test_sync_task_runs_when_the_transaction_commits():
    with transaction.atomic():
        task_id = async_task.options(sync=True, on_commit=True)("math.floor", 1.5)
        assert fetch(task_id) is None
    assert result(task_id) == 1


# sync mode


def test_sync_task_is_saved_either_way_and_needs_no_broker(settings):
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


def test_sync_raises_passes_the_exception_and_saves_the_failure(settings):
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


@pytest.mark.parametrize(("backend", "warnings"), [("locmem.LocMemCache", 1), ("filebased.FileBasedCache", 0)])
def test_cache_that_is_not_shared_is_warned_of_once(settings, tmp_path, caplog, backend, warnings):
    settings.CACHES = {"default": {"BACKEND": f"django.core.cache.backends.{backend}", "LOCATION": str(tmp_path)}}
    sharing.warn_if_private.cache_clear()
    try:
        async_task("math.floor", 1.5)
        async_iter("math.floor", [1.5])
        assert "not shared" not in caplog.text
        for _ in range(2):
            async_task("math.floor", 1.5, cached=True)
    finally:
        sharing.warn_if_private.cache_clear()
    assert caplog.text.count("'default' is not shared by processes") == warnings
