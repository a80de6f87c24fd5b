"""A batch is completed exactly once, when its last member is final, for members of any form."""

from __future__ import annotations

import base64
import pickle
import sys
from datetime import timedelta
from itertools import permutations
from secrets import token_hex
from types import ModuleType

import pytest
from django.core.cache import cache
from django.core.cache.backends.base import BaseCache
from django.db import DataError, OperationalError, connection, transaction
from django.test.utils import CaptureQueriesContext
from django.utils import timezone
from django_q.brokers import get_broker
from django_q.brokers.memory import MemoryBroker
from django_q.cluster.earlier_success import saved_success
from django_q.context import current_task
from django_q.exceptions import BrokerUnavailable
from django_q.finishing import Finisher
from django_q.models import Batch, BatchMember, Task
from django_q.results import database
from django_q.results.cache import CacheResults
from django_q.tasks import fetch, result
from django_q.wire.codec import PackageCodec
from django_q.wire.ids import new_id
from django_q.wire.metadata import Unread
from django_q.wire.outcome import encode
from django_q.workflows import batch_delivery, batch_maintenance, batches
from django_q.workflows.batch_delivery import BatchDelivery, call_back
from django_q.workflows.batch_maintenance import BatchMaintenance
from django_q.workflows.batches import BatchResults

pytestmark = pytest.mark.django_db

QUEUE = "test"


@pytest.fixture
def results(settings_of) -> BatchResults:
    return BatchResults(settings_of(name="test"), QUEUE)


@pytest.fixture
def maintenance(settings_of):
    """Makes the maintenance of a cluster."""
    broker = get_broker()
    broker.delete_queue()
    cache.clear()
    yield lambda **keys: BatchMaintenance(settings_of(**{"name": "test"} | keys), broker)
    broker.delete_queue()
    cache.clear()


@pytest.fixture
def delivery(maintenance) -> BatchDelivery:
    return maintenance().delivery


def final(_outcome) -> bool:
    return True


def save(results, *members, is_final=final):
    """Save members in one transaction; the batches that are complete then."""
    results.save_many(members, is_final)
    return results.take_completed()


def later(**passed):
    return timezone.now() + timedelta(**passed)


# completing


@pytest.mark.parametrize("order", [*permutations(range(3))])
def test_last_member_completes_a_batch_in_the_order_of_arguments(results, member, order):
    iter_id = new_id()
    for index in order[:-1]:
        assert save(results, member(iter_id, index, 3, index * 10)) == []
        assert not Task.objects.exists()
    (completed,) = save(results, member(iter_id, order[-1], 3, order[-1] * 10))
    task = Task.objects.get()
    assert (task.id, completed.id) == (iter_id, iter_id)
    assert (task.result, task.args, task.kwargs, task.success) == ([0, 10, 20], [(0,), (1,), (2,)], {}, True)
    assert not BatchMember.objects.exists()
    batch = Batch.objects.get()
    assert (batch.done, batch.failed, batch.completed is None, batch.delivered is None) == (3, 0, False, False)


def test_members_saved_together_complete_several_batches(results, member):
    ids = [new_id() for _ in range(3)]
    assert len(save(results, *[member(iter_id, index, 2, index) for index in range(2) for iter_id in ids])) == 3
    assert set(Task.objects.values_list("pk", flat=True)) == set(ids)


def test_member_that_is_saved_again_counts_once(results, member):
    iter_id = new_id()
    first = member(iter_id, 0, 2, "first")
    for again in first, first, member(iter_id, 0, 2, "again"):
        assert save(results, again, again) == []
    assert save(results, first, member(iter_id, 1, 2, "last"), first)
    assert result(iter_id) == ["first", "last"]


def test_member_redelivered_after_the_end_opens_nothing_again(results, member):
    iter_id = new_id()
    last = member(iter_id, 0, 1, 1)
    save(results, last)
    before = Task.objects.values().get()
    assert save(results, last, member(iter_id, 0, 1, ValueError("late"))) == []
    assert Task.objects.values().get() == before
    Batch.objects.all().delete()  # so late that the batch is not remembered any more
    assert save(results, last) == []
    assert not Batch.objects.exists()


def test_success_replaces_a_failure_while_the_batch_is_open(results, member):
    iter_id = new_id()
    save(results, member(iter_id, 0, 2, ValueError("first attempt")))
    assert Batch.objects.values_list("done", "failed").get() == (0, 1)
    save(results, member(iter_id, 0, 2, "second attempt"))
    assert Batch.objects.values_list("done", "failed").get() == (1, 0)
    save(results, member(iter_id, 0, 2, ValueError("late")))
    save(results, member(iter_id, 1, 2, 1))
    assert (result(iter_id), fetch(iter_id).success) == (["second attempt", 1], True)


def test_failure_that_is_tried_again_is_waited_for(results, member):
    iter_id = new_id()
    assert save(results, member(iter_id, 0, 1, ValueError("first")), is_final=lambda outcome: outcome.success) == []
    assert Batch.objects.values_list("done", "failed").get() == (0, 0)
    assert save(results, member(iter_id, 0, 1, 1))


def test_failed_member_makes_the_collated_task_a_failure(results, member):
    iter_id = new_id()
    (completed,) = save(results, member(iter_id, 0, 2, ValueError("unlucky")), member(iter_id, 1, 2, 1))
    assert (result(iter_id), fetch(iter_id).success) == (["unlucky", 1], False)
    assert completed.error == "1 of its 2 members failed"


def test_options_of_the_whole_are_those_of_its_members(results, member):
    options = {"task_name": "halves", "group": "numbers"}
    iter_id = new_id()
    save(results, member(iter_id, 0, 1, 0, iter_options=options, kwargs=encode({"by": 2})))
    task = fetch(iter_id)
    assert (task.name, task.group, task.func, task.cluster, task.kwargs) == (
        "halves", "numbers", "math.floor", "default", {"by": 2},
    )  # fmt: skip


def test_whole_that_is_not_to_be_saved_is_not(results, member, settings_of):
    save(results, member(new_id(), 0, 1, 0, iter_options={"save": False}))
    save(BatchResults(settings_of(save_limit=-1), QUEUE), member(new_id(), 0, 1, 0))
    assert not Task.objects.exists()
    save(results, member(new_id(), 0, 1, ValueError("failures always are"), iter_options={"save": False}))
    assert Task.objects.get().success is False


def test_thousand_members_are_collated(results, member):
    iter_id = new_id()
    members = [member(iter_id, index, 1000, f"result {index}") for index in range(1000)]
    for start in range(0, 1000, 250):
        save(results, *members[start : start + 250][::-1])
    assert result(iter_id) == [f"result {index}" for index in range(1000)]


def test_members_are_saved_in_few_statements(results, member):
    iter_id = new_id()
    save(results, member(iter_id, 0, 1000, 0))
    with CaptureQueriesContext(connection) as queries:
        save(results, *[member(iter_id, index, 1000, index) for index in range(1, 101)])
    assert len(queries) <= 8, [query["sql"][:80] for query in queries]


def test_nothing_is_saved_when_the_transaction_fails(results, member, monkeypatch):
    def full(*_):
        raise OperationalError("disk full")

    iter_id = new_id()
    with monkeypatch.context() as patch:
        patch.setattr(database, "insert", full)
        with pytest.raises(OperationalError):
            save(results, member(iter_id, 0, 1, 1))
    assert results.take_completed() == []
    assert not Batch.objects.exists()
    assert not BatchMember.objects.exists()
    assert save(results, member(iter_id, 0, 1, 1))
    assert result(iter_id) == [1]


# dead letters


@pytest.mark.parametrize("first", [True, False])
def test_dead_lettered_or_cancelled_member_counts_as_failed(settings_of, member, first):
    finisher = Finisher(settings_of(name="test"), get_broker())
    iter_id = new_id()
    other = member(iter_id, 1, 2, 1, kwargs=encode({"by": 2}))
    metadata = {
        "id": member(iter_id, 0, 2).id, "name": "n", "func": "math.floor", "started": other.started,
        "group": iter_id, "iter_count": 2, "cached": True, "kwargs": Unread(b"cannot be read", "kwargs"),
    }  # fmt: skip
    deliver = [lambda: finisher.fail_member(metadata, "no module named 'gone'"), lambda: finisher.save([other])]
    for each in deliver if first else reversed(deliver):
        each()
        each()
    task = fetch(iter_id)
    assert (task.result, task.success) == (["no module named 'gone'", 1], False)
    assert task.kwargs == {"by": 2}


@pytest.mark.parametrize("more", [{"group": "plain", "iter_count": 1}, {"iter_count": 10**12}, {"iter_count": 0}])
def test_task_that_is_no_member_has_no_batch_to_fail(settings_of, more):
    metadata = {"id": new_id(), "name": "n", "func": "f", "started": timezone.now(), "group": new_id()}
    Finisher(settings_of(name="test"), get_broker()).fail_member(metadata | more, "cancelled")
    assert not Batch.objects.exists()


# redelivery


def test_success_of_a_member_is_known_when_it_is_redelivered(settings_of, results, member):
    settings, (first, second) = settings_of(name="test"), (new_id(), new_id())
    members = [member(first, 0, 2, 0), member(first, 1, 2, 1), member(second, 0, 2, 0)]
    failed = member(second, 1, 2, ValueError("no"))

    def known() -> list[bool]:
        all_members = (*members, failed)
        packages = [{"id": each.id, "group": each.group, "iter_count": 2, "cached": True} for each in all_members]
        return [saved_success(package, settings) is not None for package in packages]

    assert known() == [False] * 4
    save(results, members[0], members[2])
    assert known() == [True, False, True, False]
    save(results, members[1], failed)
    assert Batch.objects.filter(delivered=None).count() == 0
    assert known() == [True, True, True, False]


# hostile members


class Model:
    """A value that django-picklefield wraps."""

    def prepare_database_save(self, field):
        raise AssertionError("not to be saved by its key")


def test_result_that_is_wrapped_is_read_as_itself(results, member):
    iter_id = new_id()
    save(results, member(iter_id, 0, 3, Model), member(iter_id, 1, 3, Model()), member(iter_id, 2, 3, None))
    first, second, third = result(iter_id)
    assert (first, type(second), third) == (Model, Model, None)


def test_text_that_looks_like_a_wrapper_is_only_text(results, member):
    iter_id = new_id()
    texts = ["picklefield.fields", "_ObjectWrapper", "picklefield.fields\x94\x8c\x0e_ObjectWrapper\x94\x93"]
    save(results, *[member(iter_id, index, 3, text) for index, text in enumerate(texts)])
    assert result(iter_id) == texts


@pytest.fixture
def gone(monkeypatch):
    """Pickle an object of a class, and remove the class."""
    module = ModuleType("gone")
    exec("class Thing:\n    pass", module.__dict__)
    monkeypatch.setitem(sys.modules, "gone", module)

    def make() -> str:
        monkeypatch.setitem(sys.modules, "gone", module)
        text = encode(module.Thing())
        monkeypatch.delitem(sys.modules, "gone")
        return text

    return make


@pytest.mark.parametrize("cached", [False, True])
def test_result_whose_class_is_gone_hides_no_other(results, delivery, member, gone, cached):
    iter_id = new_id()
    broken = member(iter_id, 1, 3, iter_cached=cached)._replace(result=gone(), args=gone())
    others = [member(iter_id, index, 3, value, iter_cached=cached) for index, value in ((0, Model), (2, 2))]
    delivery.deliver(save(results, broken, *others))
    task = fetch(iter_id, cached=cached)
    assert (task.result[0], task.result[2], task.args[0], task.args[2]) == (Model, 2, (0,), (2,))
    for text in task.result[1], task.args[1]:
        assert text.startswith("This value cannot be read: ModuleNotFoundError: No module named 'gone'")


sprung: list[int] = []


class Spring:
    """A value that must not be unpickled while it is saved."""

    def __reduce__(self):
        return spring, ()


def spring():
    sprung.append(1)
    return "sprung"


@pytest.mark.parametrize("cached", [False, True])
def test_collating_runs_no_code_of_members(results, delivery, member, cached):
    sprung.clear()
    iter_id = new_id()
    saved = member(iter_id, 0, 1, Spring(), iter_cached=cached, args=encode((Spring(),)))
    delivery.deliver(save(results, saved))
    assert sprung == []
    assert result(iter_id, cached=cached) == ["sprung"]
    assert sprung


def test_collated_column_is_read_with_the_standard_library_alone(results, member):
    iter_id = new_id()
    save(results, member(iter_id, 0, 2, {"a": 1}), member(iter_id, 1, 2, "b"))
    with connection.cursor() as cursor:
        cursor.execute("SELECT result, args FROM django_q_task")
        texts = cursor.fetchone()
    assert [pickle.loads(base64.b64decode(text)) for text in texts] == [[{"a": 1}, "b"], [(0,), (1,)]]


def test_member_that_the_database_refuses_fails_alone(results, member, monkeypatch):
    new_member = batches.count_members

    def refuse(final, using):
        if any(outcome.args == "refused" for outcomes in final.values() for outcome in outcomes.values()):
            raise DataError("no such character")
        return new_member(final, using)

    monkeypatch.setattr(batches, "count_members", refuse)
    iter_id, other = new_id(), new_id()
    members = [member(iter_id, 0, 2, 0), member(iter_id, 1, 2, 1, args="refused"), member(other, 0, 1, 7)]
    saved = results.save_many(members, final)
    assert [outcome.success for outcome in saved] == [True, False, True]
    assert result(iter_id)[0] == 0
    assert "no such character" in result(iter_id)[1]
    assert result(other) == [7]


def test_rejected_collated_task_is_a_failure_with_the_reason(results, member, monkeypatch):
    really = database.insert

    def refuse(outcomes, using):
        if outcomes[0].success:
            raise DataError("too large")
        return really(outcomes, using)

    monkeypatch.setattr(database, "insert", refuse)
    iter_id = new_id()
    save(results, member(iter_id, 0, 1, 1))
    assert "too large" in result(iter_id)
    assert Batch.objects.get().completed


@pytest.mark.parametrize("label", ["x" * 1000, "a\0b", "\ud800", "💥" * 90])
def test_label_of_the_whole_that_no_column_holds_is_made_to_fit(results, member, label):
    iter_id = new_id()
    options = {"task_name": label, "group": label, "callback": None}
    save(results, member(iter_id, 0, 1, 1, iter_options=options))
    assert result(iter_id) == [1]
    assert len(fetch(iter_id).name) <= 100


def test_arguments_are_left_out_when_they_are_very_large(results, member):
    iter_id = new_id()
    save(results, *[member(iter_id, index, 2, index, args=encode(("x" * 600_000,))) for index in range(2)])
    assert (fetch(iter_id).result, fetch(iter_id).args) == ([0, 1], [])


@pytest.mark.parametrize("cached", [float("nan"), float("inf"), "yes", 10**30, -1])
def test_cached_option_that_makes_no_sense_stops_no_monitor(results, delivery, member, cached):
    iter_id = new_id()
    delivery.deliver(save(results, member(iter_id, 0, 1, 1, iter_cached=cached)))
    assert Batch.objects.get().delivered


# the cache


@pytest.mark.parametrize("cached", [True, 60])
def test_cached_whole_is_in_the_cache_only(results, delivery, member, cached):
    iter_id = new_id()
    completed = save(results, *[member(iter_id, index, 2, index, iter_cached=cached) for index in range(2)])
    assert BatchMember.objects.count() == 2
    delivery.deliver(completed)
    assert result(iter_id, cached=True) == [0, 1]
    assert not Task.objects.exists()
    assert not BatchMember.objects.exists()
    assert Batch.objects.get().delivered


def test_cached_whole_waits_until_the_cache_is_back(results, maintenance, member, monkeypatch):
    def away(*_):
        raise ConnectionError("away")

    iter_id, at_work = new_id(), maintenance()
    completed = save(results, member(iter_id, 0, 1, 1, iter_cached=True))
    with monkeypatch.context() as patch:
        patch.setattr(CacheResults, "_save", away)
        at_work.delivery.deliver(completed)
        at_work.delivery.cache_retry_at = 0
        at_work.maintain(later(minutes=1))
    assert Batch.objects.get().delivered is None
    assert result(iter_id, cached=True) is None
    at_work.delivery.cache_retry_at = 0
    at_work.maintain(later(minutes=2))
    assert result(iter_id, cached=True) == [1]
    assert Batch.objects.get().delivered
    assert at_work.maintain(later(minutes=3)) == 0


def test_unavailable_cache_is_tried_once_and_delays_no_callback(results, maintenance, member, monkeypatch):
    asked = []

    def away(*_):
        asked.append(1)
        raise ConnectionError("away")

    at_work = maintenance()
    cached = [member(new_id(), 0, 1, 1, iter_cached=True) for _ in range(5)]
    saved = member(new_id(), 0, 1, 1, iter_options={"callback": f"{__name__}.remember"})
    monkeypatch.setattr(CacheResults, "_save", away)
    at_work.delivery.deliver(save(results, *cached, saved))
    at_work.maintain(later(minutes=1))
    assert len(asked) == 1
    called.clear()
    assert run_queued(at_work) == 1
    assert [task.id for task in called] == [saved.group]


def test_cached_whole_that_is_too_large_is_a_failure(results, delivery, member, monkeypatch):
    set_many = BaseCache.set_many

    def drop_large(self, data, timeout):
        return set_many(self, {key: value for key, value in data.items() if len(value) < 2000}, timeout)

    monkeypatch.setattr(BaseCache, "set_many", drop_large)
    iter_id = new_id()
    delivery.deliver(save(results, member(iter_id, 0, 1, token_hex(5000), iter_cached=True)))
    assert "the cache rejects" in result(iter_id, cached=True)
    assert Batch.objects.get().delivered


def test_undelivered_result_is_delivered_by_maintenance(results, maintenance, member):
    iter_id = new_id()
    save(results, member(iter_id, 0, 1, 1, iter_cached=60))  # and the monitor is killed
    assert maintenance().maintain(timezone.now()) == 0
    maintenance().maintain(later(minutes=1))
    assert result(iter_id, cached=True) == [1]


def test_batch_of_another_queue_is_left_to_its_own_clusters(settings_of, maintenance, member):
    iter_id = new_id()
    save(BatchResults(settings_of(name="test"), "elsewhere"), member(iter_id, 0, 1, 1, iter_cached=60))
    assert maintenance().maintain(later(days=10)) == 0
    maintenance().maintain(later(days=15))  # there are none
    assert CacheResults(settings_of(name="test"), "elsewhere").fetch(iter_id)["result"] == [1]
    assert result(iter_id, cached=True) is None


# callbacks

called: list[Task] = []


def remember(task):
    assert current_task().id == task.id
    called.append(task)


def raise_error(task):
    remember(task)
    raise ValueError("unlucky")


@pytest.fixture(params=[False, True], ids=["saved", "cached"])
def with_callback(request, member):
    called.clear()
    iter_id = new_id()
    options = {"callback": f"{__name__}.remember", "task_name": "named"}
    return member(iter_id, 0, 1, 42, iter_options=options, iter_cached=request.param)


def run_queued(maintenance) -> int:
    """Run what was queued, as a worker does."""
    broker, codec = maintenance.delivery.broker, PackageCodec.of(maintenance.delivery.settings)
    deliveries = broker.dequeue_many(100, 0)
    for each in deliveries:
        package = codec.loads(each.package)
        assert package["func"] == batch_delivery.CALLBACK_PATH
        call_back(*package["args"])
    broker.acknowledge_many([each.ack_id for each in deliveries])
    return len(deliveries)


def test_callback_is_called_once_with_the_collated_task(results, maintenance, with_callback):
    at_work = maintenance()
    at_work.delivery.deliver(save(results, with_callback))
    assert called == []  # only a worker runs the project's code
    assert run_queued(at_work) == 1
    (task,) = called
    assert (task.id, task.name, task.result, task.success) == (with_callback.group, "named", [42], True)
    assert task.hook.endswith("remember")
    assert task._state.adding is bool(with_callback.iter_cached)
    assert at_work.maintain(later(days=2)) == 0
    call_back(with_callback.group)
    assert len(called) == 1
    assert not BatchMember.objects.exists()


def test_callback_that_raises_is_done_all_the_same(results, maintenance, member, caplog):
    called.clear()
    saved = member(new_id(), 0, 1, 1, iter_options={"callback": f"{__name__}.raise_error"})
    at_work = maintenance()
    at_work.delivery.deliver(save(results, saved))
    run_queued(at_work)
    assert len(called) == 1
    assert "unlucky" in caplog.text
    assert Batch.objects.get().delivered


def test_callback_is_queued_when_the_broker_is_back(results, maintenance, with_callback, monkeypatch):
    def away(*_):
        raise BrokerUnavailable("away")

    at_work = maintenance()
    completed = save(results, with_callback)
    with monkeypatch.context() as patch:
        patch.setattr(type(at_work.delivery.broker), "enqueue", away)
        at_work.delivery.deliver(completed)
        at_work.maintain(later(minutes=1))
    at_work.maintain(later(minutes=2))
    assert run_queued(at_work) == 1
    assert len(called) == 1


def test_batch_of_an_impossible_cluster_stops_no_maintenance(results, maintenance, with_callback, caplog):
    at_work = maintenance()
    save(results, with_callback)
    Batch.objects.update(cluster="mail-dead", queue="mail-dead")
    at_work.maintain(later(days=15))
    assert "does not end in -dead" in caplog.text
    assert Batch.objects.get().delivered is None


def test_lost_callback_is_queued_again_after_a_day(results, maintenance, with_callback):
    at_work = maintenance()
    at_work.delivery.deliver(save(results, with_callback))
    at_work.delivery.broker.purge_queue()
    assert at_work.maintain(later(hours=23)) == 0
    at_work.maintain(later(hours=25))
    assert run_queued(at_work) == 1


# lost members


def test_batch_without_progress_is_completed_after_a_day(results, maintenance, member, caplog):
    iter_id, at_work = new_id(), maintenance()
    save(results, member(iter_id, 1, 3, 1))
    assert at_work.maintain(later(hours=23)) == 0
    assert at_work.maintain(later(hours=25)) == 1
    task = fetch(iter_id)
    assert (task.result[1], task.success) == (1, False)
    assert all(task.result[index].startswith("Lost") for index in (0, 2))
    assert "batch_timeout" in caplog.text
    assert Batch.objects.values_list("done", "failed").get() == (1, 2)
    assert save(results, member(iter_id, 0, 3, 0)) == []


def test_progress_puts_the_end_off(results, maintenance, member, monkeypatch):
    iter_id, at_work = new_id(), maintenance(batch_timeout=60)
    hasty = BatchResults(at_work.results.settings, QUEUE)
    save(hasty, member(iter_id, 0, 3, 0))
    moment = later(seconds=50)
    monkeypatch.setattr(batches.timezone, "now", lambda: moment)
    save(hasty, member(iter_id, 1, 3, ValueError("tried again")), is_final=lambda outcome: outcome.success)
    assert at_work.maintain(moment + timedelta(seconds=50)) == 0
    assert at_work.maintain(moment + timedelta(seconds=70)) == 1
    assert Task.objects.exists()


@pytest.mark.parametrize("cached", [False, 60])
def test_lost_batch_is_delivered_where_it_belongs(results, maintenance, member, cached):
    iter_id, at_work = new_id(), maintenance()
    save(results, member(iter_id, 0, 2, 0, iter_cached=cached))
    at_work.maintain(later(hours=25))
    assert result(iter_id, cached=cached)[0] == 0


def test_new_cluster_considers_no_member_lost(results, maintenance, member):
    """While no cluster ran, no member could make progress."""
    save(results, member(new_id(), 0, 2, 0))
    finished = new_id()
    save(results, member(finished, 0, 1, 0, iter_cached=60))
    Batch.objects.update(due=timezone.now() - timedelta(days=3))
    at_work = maintenance()
    assert at_work.maintain(timezone.now()) == 1
    assert result(finished, cached=True) == [0]
    assert at_work.maintain(later(minutes=59)) == 0
    assert at_work.maintain(later(minutes=61)) == 1


def test_completed_batches_are_forgotten_after_a_week(results, maintenance, member):
    save(results, member(new_id(), 0, 1, 0))
    at_work = maintenance()
    assert at_work.maintain(later(days=6)) == 0
    assert at_work.maintain(later(days=8)) == 1
    assert not Batch.objects.exists()
    assert Task.objects.exists()


def test_idle_maintenance_is_one_statement_in_ten_seconds(maintenance, monkeypatch):
    now = 1000.0
    monkeypatch.setattr(batch_maintenance.time, "monotonic", lambda: now)
    at_work = maintenance()
    with CaptureQueriesContext(connection) as queries:
        for _ in range(60):
            at_work.step()
            now += 1
    assert len(queries) == 6
    assert all('"due" <=' in query["sql"] or "`due` <=" in query["sql"] for query in queries)


def test_maintenance_with_many_due_batches_continues_at_once(results, maintenance, member, monkeypatch):
    monkeypatch.setattr(batch_maintenance, "MAX_BATCHES", 2)
    for _ in range(5):
        save(results, member(new_id(), 0, 2, 0))
    Batch.objects.update(due=timezone.now())
    at_work = maintenance()
    at_work.grace_ends_at = timezone.now()
    for _ in range(3):
        at_work.step()
    assert Task.objects.count() == 5


def test_two_maintainers_complete_a_batch_once(results, maintenance, member):
    iter_id = new_id()
    save(results, member(iter_id, 0, 2, 0))
    due = later(hours=25)
    first, second = maintenance(), maintenance()
    overdue = [iter_id]
    first.results.close(overdue, due)
    second.results.close(overdue, due)
    assert len(first.results.take_completed()) == 1
    assert second.results.take_completed() == []


def test_member_is_saved_within_a_transaction_of_the_caller(results, member):
    iter_id = new_id()
    with transaction.atomic():
        save(results, member(iter_id, 0, 1, 0))
        transaction.set_rollback(True)
    assert not Batch.objects.exists()
    assert not Task.objects.exists()


def test_idle_maintenance_does_not_load_the_query_compiler(settings_of, monkeypatch):
    """Loading it would copy memory that the scheduler shares with its cluster (copy-on-write)."""
    monkeypatch.setattr(batch_maintenance, "rows", None)
    assert BatchMaintenance(settings_of(), MemoryBroker("test")).maintain(timezone.now()) == 0
