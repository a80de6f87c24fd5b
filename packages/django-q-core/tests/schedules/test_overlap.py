"""Without overlap, a slot is claimed before its task is sent, and an early end of the task releases the next slot."""

from __future__ import annotations

from datetime import UTC, datetime, timedelta
from threading import Thread

import pytest
from django.db import OperationalError, connection
from django_q.brokers import get_broker
from django_q.brokers.memory_queue import MemoryQueue
from django_q.exceptions import BrokerUnavailable
from django_q.execution import Executor
from django_q.finishing import Finisher
from django_q.models import Schedule
from django_q.tasks import async_task
from django_q.wire.codec import PackageCodec
from django_q.wire.package import new_package

pytestmark = pytest.mark.django_db

NOW = datetime(2025, 6, 2, 12, 0, tzinfo=UTC)
HOUR = timedelta(hours=1)


@pytest.fixture
def lone(due):
    """A schedule without overlap that is due."""
    return due(overlap=False)


def waiting_for(schedule: Schedule) -> str | None:
    """Return the row of the database."""
    return Schedule.objects.values_list("waiting_for", flat=True).get(pk=schedule.pk)


def execute_all(clock) -> list[str]:
    """Execute all queued tasks as a cluster does; return their ids."""
    executor, finisher, done = Executor(clock.settings), Finisher(clock.settings, clock.broker), []
    while deliveries := clock.broker.dequeue_many(1, 0):
        for delivery in deliveries:
            package = PackageCodec.of(clock.settings).loads(delivery.package)
            finisher.finish([executor.execute(package, ack_id=delivery.ack_id)])
            done.append(package["id"])
    return done


def send_beside(clock, monkeypatch, meanwhile) -> None:
    """Call a function after tasks were queued, before the transaction of the scheduler ends."""
    put = MemoryQueue.put

    def put_and_call(self, packages, delay, *more):
        tokens = put(self, packages, delay, *more)
        meanwhile()
        return tokens

    monkeypatch.setattr(MemoryQueue, "put", put_and_call)


@pytest.mark.parametrize("args", ["1.5", "'no number'"])
def test_task_that_ends_before_the_commit_blocks_no_slot(clockwork, due, monkeypatch, args):
    """The task fails finally, or succeeds; the queue is never empty."""
    schedule = due(overlap=False, args=args)
    clock = clockwork(ack_failures=True)
    with monkeypatch.context() as patch:
        send_beside(clock, patch, lambda: execute_all(clock))
        assert len(clock.run_pass(NOW).sent) == 1
    assert waiting_for(schedule) is None
    async_task("math.floor", 1.5, broker=clock.broker)
    for number in (1, 2, 3):
        assert len(clock.run_pass(NOW + number * HOUR).sent) == 1
        execute_all(clock)
        async_task("math.floor", 1.5, broker=clock.broker)


def test_slot_is_claimed_when_its_task_is_queued(clockwork, lone, monkeypatch):
    clock, seen = clockwork(), []
    send_beside(clock, monkeypatch, lambda: seen.append(waiting_for(lone)))
    [(_, package)] = clock.run_pass(NOW).sent
    assert seen == [package["id"]]
    assert waiting_for(lone) == package["id"]
    assert package["waited_for"] is True


@pytest.mark.django_db(transaction=True)
def test_claim_is_committed_before_the_task_is_sent(clockwork, lone, monkeypatch):
    clock = clockwork()
    with monkeypatch.context() as patch:

        def die() -> None:
            raise KeyboardInterrupt

        send_beside(clock, patch, die)
        with pytest.raises(KeyboardInterrupt):
            clock.run_pass(NOW)
    lone.refresh_from_db()
    assert (lone.next_run, lone.runs) == (NOW, 0)  # rolled back
    [sent] = clock.queued()
    assert lone.waiting_for == sent["id"]
    [(_, package)] = clock.run_pass(NOW).sent  # its own id does not block it
    assert package["id"] == sent["id"]


@pytest.mark.django_db(transaction=True)
def test_monitor_on_another_connection_clears_it_meanwhile(clockwork, lone, monkeypatch):
    clock, threads = clockwork(), []

    def end(task_id: str) -> None:
        try:
            Schedule.task_ended(str(lone.pk), task_id)
        finally:
            connection.close()

    def meanwhile() -> None:
        threads.append(Thread(target=end, args=(waiting_for(lone),)))
        threads[0].start()
        threads[0].join(0.2)  # it waits for the scheduler's transaction, or does not

    send_beside(clock, monkeypatch, meanwhile)
    assert len(clock.run_pass(NOW).sent) == 1
    threads[0].join(20)
    assert waiting_for(lone) is None


def test_broker_that_is_away_leaves_nothing_claimed(clockwork, lone, monkeypatch):
    clock = clockwork()

    def away(self, packages, *options):
        raise BrokerUnavailable("connection refused")

    with monkeypatch.context() as patch:
        patch.setattr(MemoryQueue, "put", away)
        assert clock.run_pass(NOW).sent == []
    assert waiting_for(lone) is None
    assert len(clock.run_pass(NOW).sent) == 1


def test_slot_that_another_cluster_sent_stays_claimed(clockwork, lone, monkeypatch):
    """The other scheduler sends between the claim and the transaction of this one."""
    clock, other = clockwork(), clockwork()
    claim = clock.schedules.overlap.claim

    def claim_and_wait(schedules):
        claims = claim(schedules)
        assert len(other.run_pass(NOW).sent) == 1
        return claims

    monkeypatch.setattr(clock.schedules.overlap, "claim", claim_and_wait)
    assert clock.run_pass(NOW).sent == []
    lone.refresh_from_db()
    assert lone.waiting_for == lone.task


def test_claim_of_a_moved_slot_does_not_block_the_next(clockwork, lone, monkeypatch):
    """The scheduler died after it claimed, and an operator moved the slot."""
    clock = clockwork()
    monkeypatch.setattr(clock.schedules, "_send", lambda *args: None)
    monkeypatch.setattr(clock.schedules.overlap, "release", lambda *args: None)
    clock.run_pass(NOW)
    assert waiting_for(lone)
    monkeypatch.undo()
    Schedule.objects.update(next_run=NOW + HOUR)
    assert len(clock.run_pass(NOW + HOUR).sent) == 1


def test_late_end_of_the_previous_task_is_noticed_by_next_pass(clockwork, lone, monkeypatch):
    clock = clockwork()
    clock.run_pass(NOW)
    claim = clock.schedules.overlap.claim

    def claim_late(schedules):
        claims = claim(schedules)
        execute_all(clock)
        return claims

    with monkeypatch.context() as patch:
        patch.setattr(clock.schedules.overlap, "claim", claim_late)
        this_pass = clock.run_pass(NOW + HOUR)
    assert (this_pass.sent, this_pass.skipped, this_pass.more) == ([], [], True)
    assert len(clock.run_pass(NOW + HOUR).sent) == 1


@pytest.mark.parametrize("args", ["1.5", "'no number'"])
def test_task_that_ends_for_good_clears_its_own_id_only(clockwork, due, args):
    schedule, other = due(overlap=False, args=args), due(overlap=False, args=args)
    clock = clockwork(ack_failures=True)
    clock.run_pass(NOW)
    Schedule.objects.filter(pk=other.pk).update(waiting_for="a" * 32)
    execute_all(clock)
    assert waiting_for(schedule) is None
    assert waiting_for(other) == "a" * 32


def test_failure_that_is_tried_again_clears_nothing(clockwork, due):
    schedule = due(overlap=False, args="'no number'")
    clock = clockwork(ack_failures=False, max_attempts=2)
    [(_, package)] = clock.run_pass(NOW).sent
    finisher, executor = Finisher(clock.settings, clock.broker), Executor(clock.settings)
    finisher.save([executor.execute(package)])
    assert waiting_for(schedule) == package["id"]


def test_dead_letter_clears_it(clockwork, lone):
    clock = clockwork()
    clock.run_pass(NOW)
    [delivery] = clock.broker.dequeue_many(1, 0)
    Finisher(clock.settings, clock.broker).move_to_dead_letters(delivery, "a class that is gone")
    assert waiting_for(lone) is None


def test_dead_letter_of_a_lost_lease_clears_nothing(clockwork, lone):
    clock = clockwork()
    clock.run_pass(NOW)
    [delivery] = clock.broker.dequeue_many(1, 0)
    clock.broker.expire(delivery.ack_id)
    Finisher(clock.settings, clock.broker).move_to_dead_letters(delivery, "a class that is gone")
    assert waiting_for(lone) is not None
    assert clock.broker.queue_size() == 1


@pytest.mark.parametrize("waited_for", [True, 1, "yes", None])
@pytest.mark.parametrize("schedule", [None, 3, "x", "", "²", "9" * 30, "-1", "0" * 10_000, b"1", ["1"]])
def test_invalid_key_of_a_package_is_ignored(clockwork, schedule, waited_for):
    settings = clockwork().settings
    package = new_package("math.floor", (1.5,)) | {"schedule": schedule, "waited_for": waited_for}
    Finisher(settings, get_broker(settings=settings)).save([Executor(settings).execute(package)])


def test_other_tasks_cost_no_statement_when_they_end(clockwork, due, django_assert_max_num_queries):
    due()
    clock = clockwork(save_limit=-1)
    [(_, package)] = clock.run_pass(NOW).sent
    outcome = Executor(clock.settings).execute(package)
    with django_assert_max_num_queries(0):
        Finisher(clock.settings, clock.broker).save([outcome])


def test_database_that_is_away_is_not_the_schedules_fault(clockwork, lone, monkeypatch):
    clock = clockwork()

    def away(self, schedule):
        raise OperationalError("the server is away")

    Schedule.objects.update(waiting_for="a" * 32)
    monkeypatch.setattr(type(clock.schedules.overlap), "is_waiting", away)
    with pytest.raises(OperationalError):
        clock.run_pass(NOW)
    lone.refresh_from_db()
    assert lone.last_error is None
