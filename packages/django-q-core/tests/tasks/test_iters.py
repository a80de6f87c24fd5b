"""Tests of iters."""

from __future__ import annotations

import pytest
from django_q.exceptions import OptionError, UnsendableTask
from django_q.models import Batch, BatchMember, Task
from django_q.tasks import Iter, async_iter, async_task, fetch, fetch_group, result
from django_q.wire.package import new_package

pytestmark = pytest.mark.django_db


def halve(number, by=2):
    if number == 13:
        raise ValueError("unlucky")
    return number / by


def test_results_are_in_the_order_of_the_arguments(turns):
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
    assert task.func.endswith("test_iters.halve")
    assert (turns.broker.queue_size(), turns.broker.lock_size()) == (0, 0)
    assert not BatchMember.objects.exists()
    assert task.time_taken() > 0
    assert [found.id for found in fetch_group("numbers")] == [iter_id]


@pytest.mark.parametrize("arguments", [[], (), iter([])])
@pytest.mark.parametrize("cached", [False, True])
def test_empty_iterable_completes_at_once_with_an_empty_result(turns, arguments, cached):
    iter_id = async_iter("math.floor", arguments, cached=cached)
    task = fetch(iter_id, cached=cached)
    assert (task.result, task.success) == ([], True)
    assert turns.broker.queue_size() == 0
    assert Batch.objects.get().delivered


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


def test_failed_member_with_unlimited_attempts_delays_no_other(turns):
    iter_id = async_iter(halve, [12, 13])
    turns.all()
    assert result(iter_id)[0] == 6


def test_iter_waits_for_the_last_attempt_if_these_are_limited(make_turns, settings):
    settings.Q_CLUSTER = settings.Q_CLUSTER | {"max_attempts": 2}
    turns = make_turns()
    iter_id = async_iter(halve, [13])
    member = turns.take()[0]
    turns.finisher.finish([turns.run(member)])
    assert turns.all() == 0
    turns.finisher.finish([turns.run(member._replace(attempt=2))])
    turns.all()
    assert result(iter_id)[0].startswith("unlucky")


@pytest.mark.parametrize("cached", [True, 60])
def test_cached_iter_is_in_the_cache_only(turns, cached):
    iter_id = async_iter("math.floor", [1.5, 2.5], cached=cached)
    turns.all()
    assert result(iter_id, cached=True) == [1, 2]
    assert not Task.objects.exists()
    assert not BatchMember.objects.exists()


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
    assert not Batch.objects.exists()


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
    assert not Batch.objects.exists()


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


def test_iter_object_passes_options_on_and_keeps_dictionaries(turns):
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
