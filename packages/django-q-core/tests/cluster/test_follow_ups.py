"""Workers execute hooks, receivers and reports for the monitor. A package is acknowledged afterwards."""

from __future__ import annotations

import os
import sys
import threading

import pytest
from django.core.cache import caches
from django.db import DataError, OperationalError
from django.utils import timezone
from django_q import reporters, signals
from django_q.brokers.memory import MemoryBroker
from django_q.cluster.ipc.channels import Channel, Wakeup
from django_q.cluster.ipc.lifeline import Lifeline
from django_q.cluster.ipc.marks import CommandMarks
from django_q.cluster.ipc.messages import (
    Death,
    FollowedUp,
    FollowUp,
    Kind,
    TaskMessage,
    Unreadable,
    kind_of,
    pack,
    unpack,
)
from django_q.cluster.ipc.state import ClusterState
from django_q.cluster.process import Wiring
from django_q.cluster.processes.monitor import Monitor
from django_q.cluster.processes.worker import Worker
from django_q.context import current_task
from django_q.exceptions import PackageTooLarge, ResultsUnavailable, WorkerDied
from django_q.models import BatchMember, Record, Task
from django_q.records.creating import create
from django_q.results import database
from django_q.results.cache import CacheResults
from django_q.settings import ClusterSettings
from django_q.wire.codec import PackageCodec
from django_q.wire.package import new_package
from django_q.wire.tracking import NewRecord, Started

pytestmark = pytest.mark.django_db

SEEN: list = []


def hook(task):
    SEEN.append((task.name, task.success, task.attempt_count))


def remember_call():
    SEEN.append("called")


async def coroutine_hook(task):
    SEEN.append(task.name)


def interrupted_hook(task):
    raise KeyboardInterrupt


class Killer:
    def __reduce__(self):
        return os._exit, (3,)


class Exiter:
    def __reduce__(self):
        return sys.exit, ("no licence",)


@pytest.fixture
def cluster(request, monkeypatch):
    SEEN.clear()
    monitor = "processes.monitor"
    for name in ("sessions.end", f"{monitor}.keep_connections", f"{monitor}.close_connections"):
        monkeypatch.setattr(f"django_q.cluster.{name}", lambda **_: None)  # the connection belongs to the test
    return Pair(request.node.name, monkeypatch)


class Pair:
    """Worker and monitor in this process, with their broker."""

    def __init__(self, name, monkeypatch, **more):
        self.settings = ClusterSettings(
            name=name, broker_class="django_q.brokers.memory.MemoryBroker", max_attempts=3, retry=30, **more
        )
        self.broker = MemoryBroker(settings=self.settings)
        monkeypatch.setattr("django_q.cluster.processes.monitor.consuming_broker", lambda _: self.broker)
        monkeypatch.setattr("django_q.cluster.processes.monitor.LeaseKeeper.start", lambda _: None)
        self.codec = PackageCodec.of(self.settings)
        wiring = Wiring(
            settings=self.settings,
            cluster_id="pair",
            state=ClusterState(self.settings.workers),
            tasks=Channel(),
            results=Channel(),
            wake_pusher=Wakeup(),
            wake_scheduler=Wakeup(),
            commands=Channel(),
            marks=CommandMarks(),
            lifeline=Lifeline(),
        )
        self.state = wiring.state
        self.worker = Worker(wiring, 0)
        self.worker.start()
        self.monitor = self.new_monitor = Monitor(wiring)
        self.monitor.start()
        self.numbers = 0

    def send(self, func, *args, **options):
        package = new_package(func, args, **options)
        self.broker.enqueue(self.codec.dumps(package))
        return package["id"]

    def push(self):
        """Push the packages of the broker, like a pusher."""
        for delivery in self.broker.dequeue_many(10, 0):
            self.numbers += 1
            message = TaskMessage(self.numbers, 0.0, delivery.ack_id, delivery.package.encode(), delivery.attempt)
            self.worker.tasks.send(message.pack())

    def work(self):
        """Let the worker process its messages."""
        while self.worker.tasks.wait(0):
            self.worker.step()

    def settle(self):
        """Let the monitor do one step."""
        if self.monitor.results.wait(0) or self.monitor._unfinished():
            self.monitor.step()

    def run(self):
        """Push, work and settle until no message is left."""
        for _ in range(3):
            self.push()
            self.work()
            self.settle()


def test_package_is_acknowledged_after_its_hook_has_run(cluster):
    cluster.send("math.floor", 1.5, name="n", hook=f"{__name__}.hook")
    cluster.push()
    cluster.work()
    cluster.settle()
    assert Task.objects.get().success
    assert cluster.broker.lock_size() == 1
    assert cluster.state.hooks == 1
    cluster.work()
    assert SEEN == [("n", True, 1)]
    cluster.settle()
    assert cluster.broker.lock_size() == 0
    assert cluster.state.hooks == 0


def test_coroutine_hook_is_awaited(cluster):
    cluster.send("math.floor", 1.5, name="n", hook=f"{__name__}.coroutine_hook")
    cluster.run()
    assert SEEN == ["n"]


def test_hook_that_raises_does_not_fail_its_task(cluster):
    cluster.send("math.floor", 1.5, hook=f"{__name__}.interrupted_hook")
    cluster.run()
    assert (cluster.broker.queue_size(), cluster.broker.lock_size()) == (0, 0)


def test_receivers_of_post_execute_run_in_the_worker(cluster):
    told = []
    signals.post_execute.connect(receiver := lambda task, **_: told.append(task["result"]))
    try:
        cluster.send("math.floor", 1.5)
        cluster.push()
        cluster.work()
        cluster.settle()
        assert told == []
        cluster.work()
        assert told == [1]
    finally:
        signals.post_execute.disconnect(receiver)


def test_worker_that_dies_in_a_hook_ends_the_follow_up(cluster, caplog):
    cluster.send("math.floor", 1.5, hook=f"{__name__}.hook")
    cluster.push()
    cluster.work()
    cluster.settle()
    message = cluster.worker.tasks.receive()
    assert kind_of(message) == Kind.FOLLOW_UP
    cluster.worker.results.send(pack(Kind.DEATH, Death(message, "w", "it was killed", interrupted=False)))
    cluster.settle()
    assert cluster.broker.lock_size() == 0
    assert "it was killed" in caplog.text


def test_hook_that_was_not_executed_is_redelivered(cluster):
    cluster.send("math.floor", 1.5, name="n", hook=f"{__name__}.hook")
    cluster.push()
    cluster.work()
    cluster.settle()
    cluster.monitor.stop()
    assert cluster.broker.queue_size() == 1
    assert cluster.worker.tasks.receive() is not None  # as if all workers had died
    cluster.run()
    assert SEEN == [("n", True, 1)]
    assert (cluster.broker.queue_size(), cluster.broker.lock_size()) == (0, 0)


def test_redelivered_success_is_not_executed_again(cluster):
    task_id = cluster.send("builtins.list.append", SEEN, 1, hook=f"{__name__}.hook", name="n", chain=["math.floor"])
    cluster.push()
    cluster.work()
    cluster.settle()
    first = Task.objects.get(pk=task_id)
    [delivery] = list(cluster.broker._queue().leased)
    cluster.broker.expire(delivery)
    cluster.worker.tasks.receive()
    cluster.monitor.following.clear()
    cluster.run()
    again = Task.objects.get(pk=task_id)
    assert (again.stopped, again.attempt_count) == (first.stopped, 1)
    assert SEEN == [("n", True, 1)]


@pytest.mark.parametrize("cached", [False, True])
def test_repeated_outcome_saves_nothing(cluster, cached, monkeypatch):
    cluster.send("math.floor", 1.5, cached=cached)
    cluster.push()
    message = cluster.worker.tasks.receive()
    task = TaskMessage.unpack(message)
    cluster.worker.tasks.send(message)
    cluster.run()
    cluster.worker.tasks.send(task._replace(attempt=2).pack())
    monkeypatch.setattr(cluster.worker.executor, "execute", lambda *_, **__: pytest.fail("executed again"))
    cluster.work()
    assert unpack(cluster.monitor.results.receive()).repeated


def test_dead_worker_is_recorded_without_unpickling(cluster):
    task_id = cluster.send("m.f", Killer(), name="n", hook=f"{__name__}.hook")
    cluster.push()
    message = cluster.worker.tasks.receive()
    cluster.worker.results.send(pack(Kind.DEATH, Death(message, "w", "it was killed", interrupted=False)))
    cluster.settle()
    found = Task.objects.defer("args").get(pk=task_id)
    assert (found.func, found.result, found.attempt_count) == ("m.f", "it was killed", 1)


@pytest.mark.parametrize("interrupted", [False, True])
def test_dead_worker_has_the_start_that_arrives_with_its_death(cluster, interrupted):
    package = new_package("m.f", (), track=True)
    create([NewRecord.of(package, "own")])
    cluster.broker.enqueue(cluster.codec.dumps(package))
    cluster.push()
    start = Started(package["id"], 1, "w", timezone.now())
    death = Death(cluster.worker.tasks.receive(), "w", "it was killed", interrupted=interrupted)
    cluster.worker.results.send(pack(Kind.STARTED, start))
    cluster.worker.results.send(pack(Kind.DEATH, death))
    cluster.settle()
    record = Record.objects.get()
    assert record.started_at == start.moment
    assert [each["started_at"] for each in record.attempts] == [start.moment.isoformat()]


def test_argument_that_exits_is_a_failed_attempt(cluster):
    task_id = cluster.send("m.f", Exiter(), name="n")
    cluster.push()
    cluster.work()
    cluster.settle()
    found = Task.objects.defer("args").get(pk=task_id)
    assert (found.func, found.name, found.success) == ("m.f", "n", False)
    assert "no licence" in found.result


@pytest.mark.parametrize("dies", [False, True])
def test_arguments_that_end_the_process_are_not_stored(cluster, dies):
    task_id = cluster.send("m.f", Killer() if dies else Exiter())
    cluster.push()
    if dies:
        message = cluster.worker.tasks.receive()
        death = Death(message, "w", "it was killed", interrupted=False, unpickling=True)
        cluster.worker.results.send(pack(Kind.DEATH, death))
    cluster.work()
    cluster.settle()
    assert Task.objects.get(pk=task_id).args == "Unpickling the arguments ended the process."


def test_worker_records_that_it_unpickles(cluster, monkeypatch):
    seen = []
    loads = PackageCodec.loads
    monkeypatch.setattr(
        PackageCodec, "loads", lambda self, text: seen.append(cluster.worker.slot.unpickling) or loads(self, text)
    )
    cluster.send("math.floor", 1.5)
    cluster.push()
    cluster.work()
    assert seen == [True]
    assert not cluster.worker.slot.unpickling


def test_worker_records_the_look_up_of_an_earlier_success(cluster, monkeypatch):
    seen = []
    monkeypatch.setattr(
        "django_q.cluster.look_ups.saved_success", lambda *_: seen.append(cluster.worker.slot.looking_up)
    )
    for cached in (False, 60):
        cluster.send("math.floor", 1.5, cached=cached)
    for delivery in cluster.broker.dequeue_many(2, 0):
        message = TaskMessage(1, 0.0, delivery.ack_id, delivery.package.encode(), attempt=2)
        cluster.worker.tasks.send(message.pack())
    cluster.work()
    assert seen == [True, True]
    assert not cluster.worker.slot.looking_up


def test_endless_look_up_releases_the_task_without_an_attempt(cluster):
    cluster.send("math.floor", 1.5)
    cluster.push()
    death = Death(cluster.worker.tasks.receive(), "w", "it was killed", interrupted=False, looking_up=True)
    cluster.worker.results.send(pack(Kind.DEATH, death))
    cluster.settle()
    cluster.settle()
    assert not Task.objects.exists()
    (delivery,) = cluster.broker.dequeue_many(1, 1)
    assert delivery.attempt == 1


def test_package_without_attempts_is_recorded_and_not_executed(cluster):
    task_id = cluster.send("m.f", Killer())
    [delivery] = cluster.broker.dequeue_many(1, 0)
    message = TaskMessage(1, 0.0, delivery.ack_id, delivery.package.encode(), attempt=4)
    cluster.worker.tasks.send(message.pack())
    cluster.work()
    cluster.settle()
    found = Task.objects.defer("args").get(pk=task_id)
    assert (found.success, found.attempt_count) == (False, 3)
    assert "no attempts left" in found.result
    assert (cluster.broker.queue_size(), cluster.broker.lock_size()) == (0, 0)


def test_unavailable_cache_delays_only_cached_tasks(cluster, monkeypatch):
    def away(*_, **__):
        raise ConnectionError("down")

    cached = cluster.send("math.floor", 1.5, cached=True)
    plain = cluster.send("math.floor", 2.5)
    member = cluster.send("math.floor", 3.5, cached=True, group="0" * 32, iter_count=2)
    with monkeypatch.context() as patch:
        patch.setattr(type(caches[cluster.settings.cache]), "set_many", away)
        cluster.run()
        assert Task.objects.get(pk=plain).success
        assert BatchMember.objects.get(task_id=member).success
        assert cluster.broker.lock_size() == 1
        assert not cluster.state.paused
    cluster.monitor.cache.retry_at = 0.0
    cluster.settle()
    assert cluster.broker.lock_size() == 0
    assert CacheResults(cluster.settings, cluster.broker.list_key).fetch(cached)["result"] == 1


def test_outcome_that_cannot_be_saved_fails_alone(cluster, monkeypatch):
    write = CacheResults.save_many

    def refuse(self, outcomes):
        if any(outcome.name == "bad" and outcome.success for outcome in outcomes):
            raise RuntimeError("this value crashes the store")
        return write(self, outcomes)

    monkeypatch.setattr(CacheResults, "save_many", refuse)
    good = [cluster.send("math.floor", 1.5, cached=True, hook=f"{__name__}.hook", name="good") for _ in range(2)]
    bad = cluster.send("math.floor", 1.5, cached=True, name="bad")
    cluster.run()
    results = CacheResults(cluster.settings, cluster.broker.list_key)
    assert [results.fetch(each)["success"] for each in good] == [True, True]
    assert results.fetch(bad)["success"] is False
    assert SEEN == [("good", True, 1)] * 2
    assert (cluster.broker.queue_size(), cluster.broker.lock_size()) == (0, 0)


def test_redelivered_task_is_released_if_its_look_up_fails(cluster, monkeypatch):
    def away(*_):
        raise OperationalError("unable to open database file")

    monkeypatch.setattr("django_q.cluster.look_ups.saved_success", away)
    monkeypatch.setattr("django_q.cluster.look_ups.MAX_LOOK_UP_SECONDS", 0)
    cluster.send("math.floor", 1.5)
    [delivery] = cluster.broker.dequeue_many(1, 0)
    message = TaskMessage(1, 0.0, delivery.ack_id, delivery.package.encode(), attempt=2)
    cluster.worker.tasks.send(message.pack())
    cluster.work()
    assert cluster.worker._must_recycle()
    cluster.settle()
    assert (cluster.broker.queue_size(), cluster.broker.lock_size()) == (1, 0)
    [again] = cluster.broker.dequeue_many(1, 0)
    assert again.attempt == 1


def redeliver(cluster, **options):
    """Send a task to the worker as if its first attempt had begun."""
    cluster.send("math.floor", 1.5, **options)
    [delivery] = cluster.broker.dequeue_many(1, 0)
    message = TaskMessage(1, 0.0, delivery.ack_id, delivery.package.encode(), attempt=2)
    cluster.worker.tasks.send(message.pack())


@pytest.mark.parametrize("blocks", [False, True])
def test_redelivered_cached_task_waits_for_the_cache_in_monitor(cluster, monkeypatch, blocks):
    asked = []

    def away(*_):
        asked.append(1)
        if blocks:
            threading.Event().wait()
        raise ResultsUnavailable

    monkeypatch.setattr("django_q.cluster.look_ups.saved_success", away)
    monkeypatch.setattr("django_q.cluster.look_ups.CACHE_LOOK_UP_SECONDS", 0.1)
    for _ in range(2):
        redeliver(cluster, cached=True)
    plain = cluster.send("math.floor", 2.5)
    cluster.run()
    assert Task.objects.get(pk=plain).success
    assert len(asked) == 1
    assert not cluster.worker._must_recycle()
    assert (cluster.broker.queue_size(), cluster.broker.lock_size()) == (0, 2)
    cluster.monitor.kept = [(0.0, ack_id) for _, ack_id in cluster.monitor.kept]
    cluster.monitor._return_kept()
    cluster.settle()
    assert (cluster.broker.queue_size(), cluster.broker.lock_size()) == (2, 0)


def test_tasks_that_wait_for_the_cache_are_released_at_the_stop(cluster, monkeypatch):
    cluster.worker.look_ups.cache_retry_at = float("inf")
    redeliver(cluster, cached=True)
    cluster.work()
    cluster.settle()
    assert cluster.broker.lock_size() == 1
    cluster.monitor.stop()
    assert cluster.broker.queue_size() == 1


def test_look_up_that_blocks_ends_after_a_time_limit(cluster, monkeypatch):
    monkeypatch.setattr("django_q.cluster.look_ups.saved_success", lambda *_: threading.Event().wait())
    monkeypatch.setattr("django_q.cluster.look_ups.MAX_LOOK_UP_SECONDS", 0)
    monkeypatch.setattr("django_q.cluster.look_ups.MIN_LOOK_UP_SECONDS", 0.1)
    cluster.send("math.floor", 1.5)
    [delivery] = cluster.broker.dequeue_many(1, 0)
    message = TaskMessage(1, 0.0, delivery.ack_id, delivery.package.encode(), attempt=2)
    cluster.worker.tasks.send(message.pack())
    cluster.work()
    cluster.settle()
    assert (cluster.broker.queue_size(), cluster.broker.lock_size()) == (1, 0)
    assert cluster.worker.slot.deadline == 0.0


def test_unreadable_package_is_moved_to_the_dead_letters(cluster):
    cluster.broker.enqueue("rubbish")
    cluster.run()
    assert cluster.broker.dead_size() == 1


def test_cached_result_copied_to_the_queue_is_a_dead_letter(cluster):
    results = CacheResults(cluster.settings, cluster.broker.list_key)
    task_id = cluster.send(f"{__name__}.remember_call", cached=60, hook=f"{__name__}.hook")
    cluster.run()
    assert results.fetch(task_id)["success"]
    SEEN.clear()
    cluster.broker.enqueue(results.cache.get(results.key(task_id)))
    cluster.run()
    assert (SEEN, cluster.broker.dead_size()) == ([], 1)


def test_unknown_reply_is_ignored(cluster):
    cluster.worker.results.send(pack(Kind.FOLLOWED_UP, FollowedUp("of-another-monitor")))
    cluster.settle()
    assert cluster.monitor.done == []


def test_death_of_a_worker_is_reported_by_another(cluster, monkeypatch):
    reported = []
    monkeypatch.setattr(
        "django_q.cluster.processes.worker.reporters.report", lambda error, _: reported.append(repr(error))
    )
    metadata = {"id": "0" * 32, "name": "n", "func": "m.f"}
    error = WorkerDied("it was killed")
    cluster.worker.tasks.send(pack(Kind.FOLLOW_UP, FollowUp("", None, error, metadata, 2)))
    cluster.work()
    assert reported == [repr(error)]


class Listening:
    """Error reporter that keeps the error and the task of each report."""

    def report(self):
        task = current_task()
        SEEN.append((repr(sys.exc_info()[1]), task.name, task.attempt))


@pytest.fixture
def reporting(cluster, request, monkeypatch):
    """Worker and monitor with an error reporter that is only called in the worker."""
    monkeypatch.setattr(reporters.REPORTERS, "load", lambda _: Listening)
    reporters._made.forget()
    return Pair(request.node.name, monkeypatch, error_reporter={"listening": {}})


def test_success_that_is_saved_as_a_failure_is_reported(reporting, monkeypatch):
    insert = database.insert

    def refuse(outcomes, using):
        if any(outcome.success for outcome in outcomes):
            raise DataError("no successes here")
        insert(outcomes, using)

    monkeypatch.setattr(database, "insert", refuse)
    reporting.send("math.floor", 1.5, name="n")
    reporting.push()
    reporting.work()
    reporting.settle()
    assert SEEN == []  # the code of a reporter never runs in the monitor
    reporting.work()
    ((error, name, attempt),) = SEEN
    assert error.startswith("ResultNotSaved(")
    assert "no successes here" in error
    assert (name, attempt) == ("n", 1)


def test_link_that_cannot_be_sent_is_reported(reporting, monkeypatch):
    def refuse(*_, **__):
        raise PackageTooLarge("2 MB")

    monkeypatch.setattr("django_q.finishing.send_links", refuse)
    reporting.send("math.floor", 1.5, name="n", chain=[("math.floor", (1,))])
    reporting.run()
    assert SEEN == [("FollowUpFailed('PackageTooLarge: 2 MB')", "n", 1)]


def test_saved_outcomes_and_their_failures_are_not_reported_again(reporting):
    reporting.send("math.floor", "text", name="n", ack_failure=True)
    reporting.send("math.floor", 1.5)
    reporting.run()
    (report,) = SEEN
    assert report[0].startswith("TypeError(")


def test_messages_survive_their_channel(cluster):
    for kind, content in ((Kind.FOLLOW_UP, FollowUp("k", "text")), (Kind.FOLLOWED_UP, FollowedUp("k"))):
        assert unpack(pack(kind, content)) == content
    assert unpack(pack(Kind.UNREADABLE, Unreadable(1, b"x", "r"))) == Unreadable(1, b"x", "r")
