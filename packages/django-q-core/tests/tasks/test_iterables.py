"""One function, many arguments, one result."""

from __future__ import annotations

from contextlib import suppress
from types import SimpleNamespace

import pytest
from django.core.cache import cache
from django_q.dispatch import Finisher
from django_q.exceptions import OptionError, UnsendableTask
from django_q.models import Task
from django_q.package import new_package
from django_q.results import iters
from django_q.results.unavailable import ResultsUnavailable
from django_q.tasks import Iter, async_iter, async_task, fetch, fetch_group, result

pytestmark = pytest.mark.django_db


def halve(number, by=2):
    if number == 13:
        raise ValueError("unlucky")
    return number / by


def test_results_are_in_the_order_of_the_arguments_whatever_ran_first(turns):
    iter_id = async_iter("math.floor", [i + 0.5 for i in range(20)])
    deliveries = turns.take(100)
    for delivery in reversed(deliveries):
        turns.finisher.finish([turns.run(delivery)])
    turns.all()
    assert result(iter_id) == list(range(20))


def test_collated_task_is_one_row_and_nothing_is_left(turns):
    iter_id = async_iter(halve, [2, 4], by=4, task_name="halves", group="numbers")
    turns.all(limit=10)
    task = Task.objects.get()
    assert (task.id, task.name, task.group, task.success) == (iter_id, "halves", "numbers", True)
    assert (task.result, task.args, task.kwargs) == ([0.5, 1.0], [(2,), (4,)], {"by": 4})
    assert task.func.endswith("test_iterables.halve")
    assert (turns.broker.queue_size(), turns.broker.lock_size()) == (0, 0)
    assert not turns.finisher.store.cache.read_members(iter_id)
    assert task.time_taken() > 0
    assert [found.id for found in fetch_group("numbers")] == [iter_id]


def test_iter_is_collated_once_whoever_finishes_last(turns):
    iter_id = async_iter("math.floor", range(3))
    turns.all()
    assert len(turns.ran) == 4
    assert Task.objects.get(pk=iter_id).attempt_count == 1


@pytest.mark.parametrize("arguments", [[], (), iter([])])
def test_empty_iterable_has_an_empty_result(turns, arguments):
    iter_id = async_iter("math.floor", arguments)
    turns.all()
    assert fetch(iter_id).result == []
    assert fetch(iter_id).success


def test_generator_of_tuples_and_single_values(turns):
    iter_id = async_iter("math.copysign", ((i, -1) for i in range(1, 4)))
    turns.all()
    assert result(iter_id) == [-1, -2, -3]


def test_failed_member_is_in_the_list_with_its_text(turns):
    iter_id = async_iter(halve, [12, 13, 14], ack_failure=True)
    turns.all()
    task = fetch(iter_id)
    assert not task.success
    assert [task.result[0], task.result[2]] == [6, 7]
    assert task.result[1].startswith("unlucky : Traceback")
    assert (turns.broker.queue_size(), turns.broker.lock_size()) == (0, 0)


def test_failed_member_that_may_be_tried_for_ever_does_not_hold_up_the_others(turns):
    iter_id = async_iter(halve, [12, 13])
    turns.all()
    assert result(iter_id)[0] == 6


def test_iter_waits_for_the_last_attempt_where_attempts_are_limited(make_turns, settings):
    settings.Q_CLUSTER = settings.Q_CLUSTER | {"max_attempts": 2}
    turns = make_turns()
    iter_id = async_iter(halve, [13])
    member = turns.take()[0]
    turns.finisher.finish([turns.run(member)])
    assert turns.all() == 0
    turns.finisher.finish([turns.run(member._replace(attempt=2))])
    turns.all()
    assert result(iter_id)[0].startswith("unlucky")


def test_lost_member_does_not_hold_up_the_others(turns, monkeypatch):
    now = iters.time.monotonic()
    monkeypatch.setattr(iters, "time", SimpleNamespace(monotonic=lambda: now))
    iter_id = async_iter("math.floor", [1.5, 2.5, 3.5])
    lost = turns.take(1)[0]
    turns.broker.acknowledge(lost.ack_id)
    turns.all()
    turns.finisher.look_after_iters()
    assert turns.all() == 0
    now += turns.settings.retry + 3 * iters.LOOK
    turns.finisher.look_after_iters()
    turns.all()
    task = fetch(iter_id)
    assert not task.success
    assert task.result[1:] == [2, 3]
    assert task.result[0].startswith("Lost")


@pytest.mark.parametrize("again", [False, True], ids=["restarted", "another cluster that was there before"])
def test_iter_that_a_killed_monitor_watched_is_found_by_the_next(turns, monkeypatch, again):
    now = iters.time.monotonic()
    monkeypatch.setattr(iters, "time", SimpleNamespace(monotonic=lambda: now))
    following = Finisher(turns.settings, turns.broker)
    if again:
        following.look_after_iters()  # there is none yet
    iter_id = async_iter("math.floor", [1.5, 2.5, 3.5])
    turns.broker.acknowledge(turns.take(1)[0].ack_id)
    turns.all()
    turns.finisher = following  # the monitor that has finished the others is killed
    now += iters.SEARCH
    turns.finisher.look_after_iters()
    assert turns.all() == 0
    now += turns.settings.retry + 3 * iters.LOOK
    turns.finisher.look_after_iters()
    turns.all()
    assert fetch(iter_id).result[0].startswith("Lost")
    assert fetch(iter_id).result[1:] == [2, 3]
    assert (turns.finisher.iters.open, turns.finisher.iters.watchlist.read()) == ({}, {})


def test_iter_whose_results_are_gone_is_a_failure_for_the_next_monitor_too(turns, monkeypatch):
    now = iters.time.monotonic()
    monkeypatch.setattr(iters, "time", SimpleNamespace(monotonic=lambda: now))
    iter_id = async_iter("math.floor", [1.5, 2.5])
    turns.turn()
    turns.finisher.store.cache.delete_group(iter_id)
    turns.broker.acknowledge(turns.take(1)[0].ack_id)
    turns.finisher = Finisher(turns.settings, turns.broker)
    turns.finisher.look_after_iters()
    now += turns.settings.retry + 3 * iters.LOOK
    turns.finisher.look_after_iters()
    turns.all()
    assert "cache that all processes share" in result(iter_id)
    assert turns.finisher.iters.watchlist.read() == {}


def test_monitor_without_iters_looks_for_them_once_a_minute(turns, monkeypatch):
    now, looks = iters.time.monotonic(), []
    monkeypatch.setattr(iters, "time", SimpleNamespace(monotonic=lambda: now))
    monkeypatch.setattr(turns.finisher.iters.watchlist, "read", lambda: looks.append(now) or {})
    for _ in range(180):
        turns.finisher.look_after_iters()
        now += 1
    assert len(looks) == 3


def test_monitor_whose_cache_is_away_seldom_looks_for_iters(turns, monkeypatch):
    now, looks = iters.time.monotonic(), []
    monkeypatch.setattr(iters, "time", SimpleNamespace(monotonic=lambda: now))

    def away():
        looks.append(now)
        raise ResultsUnavailable("away")

    monkeypatch.setattr(turns.finisher.iters.watchlist, "read", away)
    for _ in range(1200):
        with suppress(ResultsUnavailable):
            turns.finisher.look_after_iters()
        now += 1
    assert len(looks) == 2


def test_iter_that_is_complete_at_once_is_not_written_down(turns):
    async_iter("math.floor", range(3))
    outcomes = [turns.run(delivery) for delivery in turns.take(3)]
    turns.finisher.iters.watchlist._add = None
    turns.finisher.finish(outcomes)


def test_member_that_only_takes_long_is_waited_for(turns, monkeypatch):
    now = iters.time.monotonic()
    monkeypatch.setattr(iters, "time", SimpleNamespace(monotonic=lambda: now))
    iter_id = async_iter("math.floor", [1.5, 2.5])
    slow = turns.take(1)[0]
    turns.all()
    now += 10 * turns.settings.retry
    turns.finisher.look_after_iters()
    assert turns.all() == 0
    turns.finisher.finish([turns.run(slow)])
    turns.all()
    assert result(iter_id) == [1, 2]


def test_collation_that_is_delivered_again_changes_nothing(turns):
    iter_id = async_iter("math.floor", [1.5, 2.5])
    turns.turn()
    turns.turn()
    again = turns.take()[0]
    turns.finisher.finish([turns.run(again)])
    turns.finisher.finish([turns.run(again)])
    assert result(iter_id) == [1, 2]


@pytest.mark.parametrize("cached", [True, 60])
def test_cached_iter_is_in_the_cache_only(turns, cached):
    iter_id = async_iter("math.floor", [1.5, 2.5], cached=cached)
    turns.all()
    assert result(iter_id, cached=True) == [1, 2]
    assert not Task.objects.exists()
    again = new_package(iters.COLLATE, (iter_id, 2, turns.broker.list_key), task_id=iter_id)
    turns.finisher.finish([turns.executor.execute(again)])
    assert result(iter_id, cached=True) == [1, 2]


def test_cache_that_lost_everything_is_a_failure_that_says_so(turns):
    iter_id = async_iter("math.floor", [1.5])
    turns.turn()
    cache.clear()
    turns.all()
    assert not fetch(iter_id).success
    assert "cache that all processes share" in result(iter_id)


def test_iter_of_a_public_edition_is_in_the_order_of_sending(turns):
    for index in range(3):
        package = new_package(
            "math.floor", (index,), group="0" * 32, cached=True, iter_count=3, iter_cached=False, sync=False
        )
        turns.broker.enqueue(turns.executor.codec.dumps(package))
    turns.all()
    assert result("0" * 32) == [0, 1, 2]


@pytest.mark.parametrize("count", [1, 2])
def test_task_that_only_calls_itself_an_iter_stops_no_monitor(turns, count):
    task_id = async_task("math.floor", 1.5, cached=True, group="our-own", iter_count=count)
    turns.all()
    assert result(task_id, cached=True) == 1
    assert (turns.finisher.iters.open, turns.finisher.iters.watchlist.read()) == ({}, {})


def test_options_reach_the_members_and_the_hook_is_ignored(turns):
    async_iter("math.floor", [1.5], timeout=7, q_options={"ack_failure": True, "hook": "nowhere"}, hook="nowhere")
    member = turns.waiting()[0]
    assert (member["timeout"], member["ack_failure"]) == (7, True)
    assert "hook" not in member
    assert member["kwargs"] == {"hook": "nowhere"}


def test_members_are_sent_in_one_round_trip(turns, monkeypatch):
    trips = []
    monkeypatch.setattr(type(turns.broker), "enqueue_many", lambda self, packages: trips.append(len(packages)))
    async_iter("math.floor", range(100))
    assert trips == [100]


def test_nothing_is_sent_when_one_argument_cannot_be_pickled(turns):
    with pytest.raises(UnsendableTask, match="argument 1"):
        async_iter("math.floor", [1.5, (i for i in ())])
    with pytest.raises(OptionError, match="did you mean 'timeout'"):
        async_iter("math.floor", [1.5], q_options={"timout": 1})
    assert turns.broker.queue_size() == 0


def test_sync_iter_needs_neither_broker_nor_cache(settings):
    settings.Q_CLUSTER = {"name": "sync", "redis": {"host": "nowhere.invalid"}}
    settings.CACHES = {"default": {"BACKEND": "django.core.cache.backends.dummy.DummyCache"}}
    iter_id = async_iter(halve, [2, 13, 4], sync=True)
    assert [fetch(iter_id).result[index] for index in (0, 2)] == [1, 2]
    assert result(async_iter(halve, [], sync=True)) == []


def test_sync_raises_lets_the_first_failure_through(settings):
    settings.Q_CLUSTER = settings.Q_CLUSTER | {"sync_raises": True}
    with pytest.raises(ValueError, match="unlucky"):
        async_iter(halve, [13, 2], sync=True)
    assert Task.objects.get().result[1] == 1


def test_iter_object(turns):
    given = [(1, -1)]
    numbers = Iter("math.copysign", given)
    assert numbers.append(2, -1) == 2
    assert numbers.append(3, -1) == numbers.length() == 3
    assert numbers.result() is None
    assert given == [(1, -1)]
    assert numbers.run() == numbers.id
    assert numbers.result(wait=0) is None
    turns.all()
    assert numbers.result() == [-1, -2, -3]
    assert numbers.fetch().id == numbers.id


def test_iter_object_passes_its_options_on_and_keeps_its_dictionaries(turns):
    kwargs = {"by": 4, "q_options": {"task_name": "named"}}
    numbers = Iter(halve, iter([2, 4]), kwargs, cached=30)
    numbers.run()
    turns.all()
    assert numbers.result() == [0.5, 1]
    assert numbers.fetch().name == "named"
    assert kwargs == {"by": 4, "q_options": {"task_name": "named"}}
    assert not Task.objects.exists()


@pytest.mark.parametrize("sync", [False, True])
def test_very_large_arguments_are_not_repeated_beside_the_result(turns, sync):
    iter_id = async_iter(len, ["x" * 600_000, "x" * 600_000], sync=sync)
    turns.all()
    assert (fetch(iter_id).result, fetch(iter_id).args) == ([600_000, 600_000], [])


def test_ordinary_group_of_cached_tasks_is_no_iter(turns):
    async_task("math.floor", 1.5, cached=True, group="plain")
    turns.all()
    assert [task.result for task in fetch_group("plain", cached=True)] == [1]
