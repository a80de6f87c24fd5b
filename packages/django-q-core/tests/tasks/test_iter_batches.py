"""The sender of an iter inserts its batch, so that it completes even if all of its members are lost."""

from __future__ import annotations

import asyncio
from datetime import timedelta

import pytest
from django.core.exceptions import SynchronousOnlyOperation
from django.db import DatabaseError, transaction
from django.utils import timezone
from django_q.exceptions import BrokerUnavailable, OptionError, UnsendableTask
from django_q.models import Batch, Task
from django_q.tasks import Iter, async_iter, async_task, fetch, result
from django_q.workflows import batch_opening
from django_q.workflows.batch_maintenance import BatchMaintenance
from django_q.workflows.collation import lost

pytestmark = pytest.mark.django_db(transaction=True)


def maintain(turns, **passed) -> int:
    """Run the maintenance of batches that is due after a period."""
    return BatchMaintenance(turns.settings, turns.broker).maintain(timezone.now() + timedelta(**passed))


def move_to_dead_letters(turns):
    for delivery in turns.take(100):
        turns.broker.move_to_dead_letters(delivery)


def purge(turns):
    turns.broker.purge_queue()


def vanish(turns):
    turns.broker.acknowledge_many([delivery.ack_id for delivery in turns.take(100)])


@pytest.mark.parametrize("lose", [move_to_dead_letters, purge, vanish])
@pytest.mark.parametrize("cached", [None, True, 60])
def test_iter_whose_members_are_all_lost_is_collated_after_a_day(turns, lose, cached):
    numbers = Iter("math.floor", [1.5, 2.5, 3.5], {"task_name": "floors", "group": "numbers"}, cached=cached)
    numbers.run()
    lose(turns)
    assert maintain(turns, hours=23) == 0
    assert numbers.result(wait=0) is None
    assert maintain(turns, hours=25) == 1
    assert numbers.result(wait=-1) == [lost(index) for index in range(3)]
    task = numbers.fetch(wait=-1)
    assert (task.id, task.name, task.group, task.success) == (numbers.id, "floors", "numbers", False)
    assert (task.func, task.kwargs) == ("math.floor", {})
    assert Task.objects.count() == (0 if cached else 1)


def test_batch_timeout_is_a_setting(make_turns, settings):
    settings.Q_CLUSTER = settings.Q_CLUSTER | {"batch_timeout": 600}
    turns = make_turns()
    iter_id = async_iter("math.floor", [1.5])
    purge(turns)
    assert maintain(turns, seconds=590) == 0
    assert maintain(turns, seconds=610) == 1
    assert result(iter_id) == [lost(0)]


def test_delayed_members_are_not_lost_before_they_are_due(turns):
    iter_id = async_iter("math.floor", [1.5], q_options={"delay": 3 * 86_400})
    assert maintain(turns, days=3, hours=23) == 0
    assert maintain(turns, days=4, hours=1) == 1
    assert result(iter_id) == [lost(0)]


def test_members_that_wait_in_a_slow_queue_are_not_lost(turns):
    iter_id = async_iter("math.floor", [1.5, 2.5])
    for day in range(1, 14):
        maintain(turns, days=day)
    assert not Batch.objects.get().completed
    turns.all()
    assert result(iter_id) == [1, 2]


def test_iter_in_a_busy_queue_is_completed_after_two_weeks(turns):
    iter_id = async_iter("math.floor", [1.5])
    purge(turns)
    async_task("math.floor", 1.5)
    maintain(turns, days=13)
    assert not Batch.objects.get().completed
    maintain(turns, days=15)
    assert result(iter_id) == [lost(0)]


def test_partly_finished_iter_is_completed_in_a_busy_queue(turns):
    iter_id = async_iter("math.floor", [1.5, 2.5])
    turns.turn()
    purge(turns)
    async_task("math.floor", 1.5)
    maintain(turns, hours=25)
    assert result(iter_id) == [1, lost(1)]


def test_queue_that_cannot_be_asked_may_hold_members(turns, monkeypatch):
    def away(*_):
        raise BrokerUnavailable("away")

    async_iter("math.floor", [1.5])
    purge(turns)
    monkeypatch.setattr(type(turns.broker), "queue_size", away)
    maintain(turns, hours=25)
    assert not Batch.objects.get().completed


def test_sender_writes_one_row_for_an_iter(turns, django_assert_num_queries):
    with django_assert_num_queries(3):  # with the transaction around it
        async_iter("math.floor", range(100))
    assert Batch.objects.values_list("total", "done", "failed").get() == (100, 0, 0)


def test_iter_in_sync_mode_has_no_batch(turns):
    async_iter("math.floor", [1.5], sync=True)
    async_iter("math.floor", [], sync=True)
    assert not Batch.objects.exists()


def test_iter_that_could_not_be_sent_has_no_batch(turns, monkeypatch):
    def away(*_):
        raise BrokerUnavailable("away")

    monkeypatch.setattr(type(turns.broker), "enqueue_many", away)
    with pytest.raises(BrokerUnavailable):
        async_iter("math.floor", [1.5, 2.5])
    assert not Batch.objects.exists()


def refuse(*_args, **_kwargs):
    raise DatabaseError("no such table: django_q_batch")


def test_batch_that_was_not_inserted_is_made_by_the_first_member(turns, monkeypatch, caplog):
    with monkeypatch.context() as patch:
        patch.setattr(batch_opening, "insert_batches", refuse)
        iter_id = async_iter("math.floor", [1.5, 2.5], task_name="floors", cached=60)
    assert "batch not inserted" in caplog.text
    turns.turn()
    assert Batch.objects.values_list("pk", "total", "done", "name", "cached").get() == (iter_id, 2, 1, "floors", 60)
    turns.all()
    assert result(iter_id, cached=True) == [1, 2]


def test_failing_insert_leaves_the_callers_transaction_alone(turns, monkeypatch, caplog):
    monkeypatch.setattr(type(turns.broker), "alias", "default")
    with transaction.atomic():
        with monkeypatch.context() as patch:
            patch.setattr(Batch._meta, "db_table", "no_such_table")  # not migrated yet
            iter_id = async_iter("math.floor", [1.5])
        assert Task.objects.count() == 0
    assert "batch not inserted" in caplog.text
    turns.all()
    assert result(iter_id) == [1]


def test_open_transaction_of_the_sender_holds_up_no_cluster(turns):
    """The caller may wait for the result before its transaction ends."""
    with transaction.atomic():
        iter_id = async_iter("math.floor", [1.5])
        assert not Batch.objects.exists()
        turns.all()
        assert result(iter_id) == [1]
    assert Batch.objects.get().completed


@pytest.mark.parametrize("rolled_back", [True, False])
def test_batch_is_inserted_when_the_senders_transaction_commits(turns, rolled_back):
    with transaction.atomic():
        iter_id = async_iter("math.floor", [1.5, 2.5])
        transaction.set_rollback(rolled_back)
    assert Batch.objects.exists() is not rolled_back
    turns.all()
    assert result(iter_id) == [1, 2]


@pytest.mark.parametrize("rolled_back", [True, False])
def test_batch_of_an_iter_sent_on_commit_is_inserted_with_it(turns, rolled_back):
    with transaction.atomic():
        async_iter("math.floor", [1.5], q_options={"on_commit": True})
        assert not Batch.objects.exists()
        transaction.set_rollback(rolled_back)
    assert Batch.objects.count() == turns.broker.queue_size() == (0 if rolled_back else 1)


@pytest.mark.parametrize("rolled_back", [True, False])
def test_batch_shares_the_transaction_of_a_queue_in_the_database(turns, monkeypatch, rolled_back):
    monkeypatch.setattr(type(turns.broker), "alias", "default")
    with transaction.atomic():
        async_iter("math.floor", [1.5])
        assert Batch.objects.exists()
        transaction.set_rollback(rolled_back)
    assert Batch.objects.exists() is not rolled_back


def test_batch_completed_before_the_commit_is_not_created_again(turns):
    with transaction.atomic():
        iter_id = async_iter("math.floor", [1.5])
        turns.all()
    assert Batch.objects.values_list("pk", "done").get() == (iter_id, 1)
    assert maintain(turns, days=2) == 0


def test_iter_that_a_coroutine_sends_is_completed_too(turns):
    async def send():
        return async_iter("math.floor", [1.5, 2.5])

    iter_id = asyncio.run(send())
    turns.all()
    assert result(iter_id) == [1, 2]


def test_empty_iter_of_a_coroutine_says_it_needs_the_database(turns):
    async def send():
        return async_iter("math.floor", [])

    with pytest.raises(SynchronousOnlyOperation):
        asyncio.run(send())


called: list[Task] = []


def remember(task):
    called.append(task)


@pytest.mark.parametrize("sync", [False, True])
@pytest.mark.parametrize("arguments", [[1.5, 2.5], []])
@pytest.mark.parametrize("callback", [remember, f"{__name__}.remember"])
@pytest.mark.parametrize("save", [None, False])
def test_callback_is_called_once_with_the_whole(turns, sync, arguments, callback, save):
    called.clear()
    options = {"callback": callback, "task_name": "floors"}
    iter_id = async_iter("math.floor", arguments, q_options=options, sync=sync, save=save)
    turns.all()
    (task,) = called
    assert (task.id, task.name, task.result) == (iter_id, "floors", [1, 2][: len(arguments)])
    assert Task.objects.count() == (save is None)
    assert options == {"callback": callback, "task_name": "floors"}


def test_callback_is_an_option_of_the_builder_too(turns):
    called.clear()
    iter_id = async_iter.options(callback=remember)("math.floor", [1.5])
    turns.all()
    assert [task.id for task in called] == [iter_id]


def test_callback_that_no_worker_can_import_is_refused(turns):
    with pytest.raises((UnsendableTask, OptionError), match="lambda"):
        async_iter("math.floor", [1.5], q_options={"callback": lambda task: None})
    assert turns.broker.queue_size() == 0


def test_callback_that_is_none_is_none(turns):
    iter_id = async_iter("math.floor", [1.5], q_options={"callback": None, "group": None})
    turns.all()
    assert result(iter_id) == [1]


def test_keyword_named_callback_goes_to_the_function(turns):
    iter_id = async_iter(dict, [()], callback="mine")
    turns.all()
    assert result(iter_id) == [{"callback": "mine"}]


def test_member_that_comes_after_the_end_changes_nothing(turns):
    """Dead letters that are requeued after a day run, but the iter is complete."""
    iter_id = async_iter("math.floor", [1.5])
    move_to_dead_letters(turns)
    maintain(turns, hours=25)
    before = fetch(iter_id).stopped
    turns.broker.requeue_dead()
    turns.all()
    assert (fetch(iter_id).stopped, result(iter_id)) == (before, [lost(0)])
