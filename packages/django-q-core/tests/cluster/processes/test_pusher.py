"""The pusher fetches, renews and releases. No process is started here."""

from __future__ import annotations

import signal
import time

import pytest
from django_q.brokers import Delivery
from django_q.brokers.memory import MemoryBroker
from django_q.cluster.ipc.channels import Channel, Wakeup
from django_q.cluster.ipc.lifeline import Lifeline
from django_q.cluster.ipc.marks import CommandMarks
from django_q.cluster.ipc.messages import TaskMessage
from django_q.cluster.ipc.state import ClusterState, Phase, WorkerState
from django_q.cluster.prefetch import Prefetch
from django_q.cluster.process import Wiring
from django_q.cluster.processes.pusher import MAX_UNSAVED_OUTCOMES, Pusher
from django_q.cluster.processes.worker import Worker
from django_q.cluster.statistics import PUBLISH_SECONDS
from django_q.exceptions import BrokerError, BrokerUnavailable
from django_q.settings import ClusterSettings
from django_q.wire.codec import PackageCodec
from django_q.wire.package import new_package


@pytest.fixture
def pusher():
    settings = ClusterSettings(name="pusher", workers=2, queue_limit=8)
    wiring = Wiring(
        settings=settings,
        cluster_id="test",
        state=ClusterState(2),
        tasks=Channel(),
        results=Channel(),
        wake_pusher=Wakeup(),
        wake_scheduler=Wakeup(),
        lifeline=Lifeline(),
        commands=Channel(),
        marks=CommandMarks(),
    )
    pusher = Pusher(wiring)
    pusher.use(MemoryBroker("pusher", settings=settings))
    yield pusher
    pusher.broker.delete_queue()


@pytest.fixture
def published(pusher, monkeypatch):
    """Keys of the statistics that the broker of the pusher has stored."""
    given: list[str] = []
    monkeypatch.setattr(MemoryBroker, "keeps_statistics", True)
    monkeypatch.setattr(MemoryBroker, "set_stat", lambda self, key, value, timeout: given.append(key))
    pusher.use(pusher.broker)
    return given


def take(pusher: Pusher, worker: int) -> int:
    """Let a worker begin the next task."""
    message = pusher.tasks.receive(block=False)
    number = TaskMessage.unpack(message).number
    pusher.state.slots[worker].begin(message, 0.0, number)
    return number


def test_fetch_waits_for_the_low_water_mark(pusher):
    pusher.broker.enqueue_many(["package"] * 20)
    pusher.step()
    assert pusher.state.waiting == 8
    for _ in range(5):
        take(pusher, 0)
    assert pusher._room() < 8 - pusher.window.low_water_mark
    take(pusher, 1)
    pusher.step()
    assert pusher.state.waiting == 8


def test_leases_of_finished_tasks_are_not_renewed(pusher):
    for _ in range(200):
        pusher.broker.enqueue_many(["package"] * 8)
        pusher.step()
        for worker in (0, 1) * 4:
            take(pusher, worker)
    assert len(pusher.leases.held) <= 2 * 8


def test_task_between_channel_and_slot_is_renewed(pusher):
    pusher.broker.enqueue_many(["package"] * 4)
    pusher.step()
    slow = TaskMessage.unpack(
        pusher.tasks.receive(block=False)
    ).number  # worker 0 has received it, and has not recorded it yet
    for _ in range(3):
        take(pusher, 1)
    pusher.leases.forget_passed()
    assert slow in pusher.leases.held


def test_room_of_lost_packages_is_free_again(pusher):
    pusher.broker.enqueue_many(["package"] * 8)
    pusher.step()
    lost = [task.ack_id for task in pusher._withdraw()]
    pusher._renumber([TaskMessage(number, 0.0, ack_id, b"") for number, ack_id in enumerate(lost, 1)])
    pusher.broker.release_many(lost)  # as if the cluster was suspended for longer than the leases
    pusher.leases.renew_at = 0.0
    pusher._renew_when_due()
    assert pusher.state.waiting == 0
    assert not pusher.tasks.wait(0)
    pusher.step()
    assert pusher.state.waiting == 8


def in_hand(pusher: Pusher, seconds: float) -> bytes:
    """Return a message that a worker has received and not processed, whose lease began *seconds* ago."""
    pusher.broker.enqueue(PackageCodec.of(pusher.settings).dumps(new_package("math.copysign", (2, -2))))
    pusher.step()
    task = TaskMessage.unpack(pusher.tasks.receive(block=False))
    return task._replace(leased=time.monotonic() - seconds).pack()


def test_received_task_with_a_lost_lease_does_not_begin(pusher):
    message = in_hand(pusher, pusher.settings.retry + 1)
    pusher.broker.release(TaskMessage.unpack(message).ack_id)  # as if the cluster was suspended for so long
    pusher.leases.renew_at = 0.0
    pusher._renew_when_due()
    Worker(pusher.wiring, 0)._task(message)
    assert not pusher.wiring.results.wait(0)


def test_received_task_with_a_renewed_lease_begins(pusher):
    message = in_hand(pusher, pusher.settings.retry + 1)
    pusher.state.renewed = time.monotonic()
    Worker(pusher.wiring, 0)._task(message)
    assert pusher.wiring.results.wait(0)


def test_task_whose_worker_died_before_its_record_is_redelivered(pusher):
    pusher.broker.enqueue_many(["package"] * 3)
    pusher.step()
    for _ in range(2):
        take(pusher, 0)
    pusher.state.slots[0].finish(sent=True)
    assert pusher.tasks.receive(block=False)  # and the worker is killed before it records it
    for _ in range(2):
        pusher.leases.renew_at = 0.0
        pusher._renew_when_due()
    assert not pusher.leases.held
    assert pusher.state.waiting == 0


class TestPrefetch:
    def work(self, pusher: Pusher, seconds: float) -> None:
        """Let two workers execute all waiting tasks, each in *seconds*."""
        while pusher.tasks.wait(0):
            for worker in (0, 1):
                if pusher.tasks.wait(0):
                    take(pusher, worker)
                    pusher.state.slots[worker].finish(sent=True)
            self.now += seconds

    @pytest.fixture(autouse=True)
    def clock(self, monkeypatch):
        self.now = 1000.0
        monkeypatch.setattr("django_q.cluster.processes.pusher.time.monotonic", lambda: self.now)

    def test_short_tasks_are_prefetched_beyond_the_limit(self, pusher):
        pusher.broker.enqueue_many(["package"] * 2000)
        for _ in range(8):
            pusher.step()
            self.work(pusher, 0.0001)
        pusher.step()
        assert 8 < pusher.state.waiting <= 2 * 0.01 / 0.0001

    @pytest.mark.parametrize("seconds", [0.01, 1, 100])
    def test_long_tasks_are_not_prefetched_beyond_the_limit(self, pusher, seconds):
        pusher.broker.enqueue_many(["package"] * 200)
        for _ in range(8):
            pusher.step()
            assert pusher.state.waiting == 8
            self.work(pusher, seconds)

    def test_large_packages_are_not_prefetched_beyond_the_limit(self, pusher):
        pusher.broker.enqueue_many(["package" * 10_000] * 200)
        for _ in range(8):
            pusher.step()
            assert pusher.state.waiting == 8
            self.work(pusher, 0.0001)

    def test_broker_without_prefetch_keeps_the_limit(self, pusher):
        pusher.broker.supports_prefetch = False
        pusher.use(pusher.broker)
        pusher.broker.enqueue_many(["package"] * 200)
        for _ in range(8):
            pusher.step()
            assert pusher.state.waiting == 8
            self.work(pusher, 0.0001)

    def test_unstarted_surplus_is_released_to_its_position(self, pusher):
        pusher.broker.enqueue_many([str(number) for number in range(2000)])
        for _ in range(8):
            pusher.step()
            self.work(pusher, 0.0001)
        pusher.step()
        fetched = pusher.state.waiting
        assert fetched > 8
        first = int(TaskMessage.unpack(pusher.tasks.receive(block=False)).package)
        pusher.state.slots[0].begin(b"", self.now, pusher.state.taken + 1)  # and it takes long
        self.now += 0.051
        pusher.step()
        assert pusher.state.waiting == 8
        assert sum(number > pusher.state.taken for number in pusher.leases.held) == 8
        left = pusher.broker.dequeue_many(2000, 0)
        assert [int(package) for _, package, _ in left] == list(range(first + 9, 2000))
        kept = [TaskMessage.unpack(pusher.tasks.receive(block=False)).package for _ in range(8)]
        assert kept == [str(number).encode() for number in range(first + 1, first + 9)]


def test_pusher_publishes_statistics_that_the_broker_keeps(pusher, published):
    pusher.state.phase = Phase.RUNNING
    pusher.step()
    assert published == [f"{pusher.settings.q_stat}:test"]
    assert pusher._seconds_to_wait() <= PUBLISH_SECONDS


def test_pusher_does_not_publish_statistics_in_a_cache(pusher, published):
    pusher.broker.keeps_statistics = False
    pusher.use(pusher.broker)
    pusher.step()
    pusher.stop()
    assert published == []


def test_pusher_publishes_the_stop(pusher, published):
    pusher.state.phase = Phase.STOPPING
    assert not pusher.step()
    pusher.stop()
    assert len(published) == 1


def test_statistics_are_published_while_the_channel_has_no_room(pusher, published, monkeypatch):
    answers = iter([False, True])
    monkeypatch.setattr(type(pusher.tasks), "send", lambda self, message, *, wait=0: next(answers))
    pusher._send(b"message")
    assert len(published) == 1


def test_no_statistics_are_published_during_an_outage(pusher, published, monkeypatch):
    pusher.publisher.due = float("inf")
    with monkeypatch.context() as away:
        away.setattr(MemoryBroker, "dequeue_many", refuse(BrokerUnavailable))
        pusher.wiring.wake_pusher.set()
        pusher.step()
    pusher.publisher.due = 0.0
    pusher._publish_when_due()
    pusher.stop()
    assert published == []
    pusher.retry_at = 0.0
    pusher.step()
    pusher.step()
    assert len(published) == 1


def test_server_that_refuses_everything_is_logged_once(pusher, published, monkeypatch, caplog):
    monkeypatch.setattr(MemoryBroker, "set_stat", refuse(BrokerUnavailable))
    monkeypatch.setattr(MemoryBroker, "dequeue_many", refuse(BrokerUnavailable))
    for _ in range(3):
        pusher.publisher.due = pusher.retry_at = 0.0
        assert pusher.step()
    assert [record.levelname for record in caplog.records] == ["ERROR"]


def test_refused_statistics_do_not_stop_the_pusher(pusher, published, monkeypatch, caplog):
    monkeypatch.setattr(MemoryBroker, "set_stat", refuse(BrokerError))
    pusher.broker.enqueue_many(["package"] * 8)
    assert pusher.step()
    assert pusher.state.waiting == 8
    assert "could not publish the statistics" in caplog.text


def refuse(error):
    """Return a method that raises an error, like a server that fails or refuses."""

    def raising(*args, **kwargs):
        raise error("no")

    return raising


def fill_channel(pusher, monkeypatch, room):
    """Simulate a full channel: the first attempts to send have the given results. Leases are due after a failed one."""
    send, answers = pusher.tasks.send, iter(room)
    pusher.leases.renew_at = float("inf")

    def send_if_there_is_room(message: bytes, *, wait: float = 0.0) -> bool:
        if next(answers, True):
            return send(message)
        pusher.leases.renew_at = 0.0
        return False

    monkeypatch.setattr(pusher.tasks, "send", send_if_there_is_room)


def test_failed_renewal_during_a_push_loses_no_delivery(pusher, monkeypatch):
    pusher.broker.enqueue_many(["package"] * 8)
    monkeypatch.setattr(MemoryBroker, "renew", refuse(BrokerUnavailable))
    fill_channel(pusher, monkeypatch, [True, True, False, False])
    assert pusher.step()
    assert pusher.state.waiting == 8
    assert len(pusher._withdraw()) == 8
    assert pusher.state.renewed == 0.0


@pytest.mark.parametrize("away", [True, False])
def test_pusher_does_not_spin_while_it_waits_and_leases_are_due(pusher, published, monkeypatch, away):
    pusher.broker.enqueue_many(["package"] * 4)
    pusher.step()
    pusher.publisher.due = pusher.leases.renew_at = 0.0
    renew = refuse(BrokerUnavailable) if away else lambda self, ids: []
    monkeypatch.setattr(MemoryBroker, "renew", renew)
    waits: list[float] = []
    monkeypatch.setattr(pusher.tasks, "send", lambda message, *, wait=0.0: waits.append(wait) or len(waits) == 3)
    pusher._send(b"message")
    assert waits[0] == 0.0
    assert min(waits[1:]) > 0.04


def test_failed_renewal_is_repeated_after_the_outage(pusher, monkeypatch):
    pusher.broker.enqueue_many(["package"] * 8)
    pusher.step()
    pusher.leases.renew_at = pusher.state.renewed = 0.0
    with monkeypatch.context() as away:
        away.setattr(MemoryBroker, "renew", refuse(BrokerUnavailable))
        assert pusher.step()
        assert pusher.state.renewed == 0.0
        renewals = []
        away.setattr(MemoryBroker, "renew", lambda self, ids: renewals.append(list(ids)) or [])
        assert pusher.step()  # the pause before the next attempt
        pusher.retry_at = 0.0
        assert pusher.step()
        assert len(renewals) == 1
        assert pusher.state.renewed > 0.0
        assert pusher.step()
        assert len(renewals) == 1


def test_broker_is_available_again_after_an_answer_only(pusher, monkeypatch, caplog):
    caplog.set_level("INFO", "django-q")
    with monkeypatch.context() as away:
        away.setattr(MemoryBroker, "dequeue_many", refuse(BrokerUnavailable))
        pusher.step()
        pusher.state.paused = 1  # the broker is unavailable for the monitor, too, so nothing is fetched
        pusher.retry_at = 0.0
        pusher.step()
        assert "broker available again" not in caplog.text
    pusher.state.paused = 0
    pusher.step()
    assert caplog.text.count("broker unavailable") == 1
    assert caplog.text.count("broker available again") == 1


def test_leases_are_renewed_first_after_an_outage(pusher, monkeypatch, caplog):
    caplog.set_level("INFO", "django-q")
    pusher.broker.enqueue_many(["package"] * 4)
    pusher.step()
    pusher._back_off(BrokerUnavailable())
    pusher.retry_at = 0.0
    pusher.state.paused = 1
    with monkeypatch.context() as away:
        away.setattr(MemoryBroker, "renew", refuse(BrokerUnavailable))
        pusher.step()
        assert pusher.backoff.failures == 2
    pusher.retry_at = 0.0
    pusher.step()
    assert caplog.text.count("broker available again") == 1


def test_outage_during_a_push_ends_when_the_broker_answers(pusher, monkeypatch, caplog):
    caplog.set_level("INFO", "django-q")
    pusher.broker.enqueue_many(["package"] * 8)
    with monkeypatch.context() as full:
        full.setattr(MemoryBroker, "renew", refuse(BrokerUnavailable))
        fill_channel(pusher, full, [True, False])
        pusher.step()
    assert "broker unavailable" in caplog.text
    assert "broker available again" not in caplog.text
    pusher.retry_at = 0.0
    pusher.step()
    assert caplog.text.count("broker available again") == 1


@pytest.mark.parametrize(("retry", "longest"), [(6.0, 1.0), (0.06, 0.1), (600.0, 1.0)])
def test_back_off_leaves_time_to_renew_leases(pusher, retry, longest):
    pusher.leases.interval.seconds = retry / 3
    pusher.leases.held[1] = "a lease"
    for _ in range(20):
        pusher._back_off(BrokerUnavailable())
    assert longest / 3 < pusher.retry_at - time.monotonic() <= longest


def test_leases_are_renewed_in_a_third_of_the_shortest_one(pusher, monkeypatch):
    monkeypatch.setattr(MemoryBroker, "leases_vary", True)
    monkeypatch.setattr(MemoryBroker, "lease_seconds", lambda self, ack_id: 3.0 if ack_id in short else 60.0)
    short: set = set()
    pusher.use(pusher.broker)
    pusher.step()
    assert pusher.leases.renew_at > time.monotonic() + 10
    pusher.broker.enqueue_many(["package"] * 8)
    [first, *_] = leases = pusher.broker.dequeue_many(8, 0)
    short.add(first.ack_id)
    pusher._push(leases)
    assert pusher.leases.renew_at <= time.monotonic() + 1
    pusher.leases.renew_at = 0.0
    pusher._renew_when_due()
    assert time.monotonic() < pusher.leases.renew_at <= time.monotonic() + 1
    pusher.retry_at = pusher.leases.renew_at = 0.0
    for _ in range(20):
        pusher._back_off(BrokerUnavailable())
    assert pusher.retry_at <= time.monotonic() + 0.5


@pytest.mark.parametrize("flag", ["paused", "backlog", "unsaved"])
def test_monitor_that_falls_behind_stops_the_fetching(pusher, flag):
    pusher.broker.enqueue_many(["package"] * 8)
    if flag == "unsaved":
        for _ in range(MAX_UNSAVED_OUTCOMES + 1):
            pusher.state.slots[0].finish(sent=True)
    else:
        setattr(pusher.state, flag, MAX_UNSAVED_OUTCOMES + 1)
    began = time.monotonic()
    assert pusher.step()
    assert pusher.state.waiting == 0
    assert 0.05 < time.monotonic() - began < 10, "it neither spins nor blocks"
    pusher.state.paused = pusher.state.backlog = 0
    pusher.state.received = pusher.state.sent
    assert pusher.step()
    assert pusher.state.waiting == 8


def test_outcomes_that_wait_for_the_cache_stop_no_fetching(pusher):
    pusher.broker.enqueue_many(["package"] * 8)
    pusher.state.backlog = pusher.state.postponed = MAX_UNSAVED_OUTCOMES + 1
    assert pusher.step()
    assert pusher.state.waiting == 8


class TestBrokerWithoutReceipts:
    """Broker of the public editions: it deletes delivered packages, and may return more than requested."""

    @pytest.fixture(autouse=True)
    def broker(self, pusher, monkeypatch):
        self.packages: list[str] = []
        monkeypatch.setattr(pusher.broker, "supports_receipts", False)
        monkeypatch.setattr(pusher.broker, "supports_renewal", False)
        monkeypatch.setattr(pusher.broker, "dequeue_many", lambda limit, wait: self.all())
        monkeypatch.setattr(pusher.broker, "enqueue", self.packages.append)
        monkeypatch.setattr(pusher.broker, "release_many", lambda ids: pytest.fail("nothing can be released"))

    def all(self) -> list[Delivery]:
        given = [Delivery(None, package) for package in self.packages]
        self.packages.clear()
        return given

    @pytest.mark.parametrize("prefetch", [True, False])
    def test_surplus_stays_with_the_workers(self, pusher, prefetch):
        pusher.window = Prefetch(pusher.limit, may_exceed=prefetch)
        self.packages += [str(number) for number in range(20)]
        pusher.step()
        pusher.pushed_at -= 1
        pusher.step()
        assert [task.package for task in pusher._withdraw()] == [str(number).encode() for number in range(20)]

    def test_stop_enqueues_unstarted_tasks_without_receipt(self, pusher):
        self.packages += [str(number) for number in range(20)]
        pusher.step()
        taken = TaskMessage.unpack(pusher.tasks.receive(block=False)).package
        pusher.state.stop_by = time.monotonic()
        pusher.state.phase = Phase.STOPPING
        assert not pusher.step()
        pusher.stop()
        assert [taken.decode(), *self.packages] == [str(number) for number in range(20)]
        assert not pusher.tasks.wait(0)

    def test_stop_waits_until_workers_have_begun_all_tasks(self, pusher, monkeypatch):
        self.packages += [str(number) for number in range(20)]
        pusher.step()
        pusher.state.stop_by = time.monotonic() + 3600
        pusher.state.phase = Phase.STOPPING
        begun: list[bytes] = []

        def begin(seconds: float) -> None:
            begun.append(TaskMessage.unpack(pusher.tasks.receive(block=False)).package)

        monkeypatch.setattr(pusher.wiring.wake_pusher, "wait", begin)
        pusher.stop()
        assert len(begun) == 20
        assert self.packages == []

    def test_stop_during_an_outage_leaves_tasks_to_the_workers(self, pusher, monkeypatch):
        self.packages += ["package"] * 3
        pusher.step()
        pusher.state.stop_by = time.monotonic()
        monkeypatch.setattr(pusher.broker, "enqueue", refuse(BrokerUnavailable))
        pusher.stop()
        assert len(pusher._withdraw()) == 3


def test_pusher_that_waits_for_room_records_progress(pusher, monkeypatch):
    answers = iter([False, True])
    monkeypatch.setattr(type(pusher.tasks), "send", lambda self, message, *, wait=0: next(answers))
    pusher._send(b"message")
    assert pusher.state.heartbeats["pusher"].last > 0.0


def test_worker_wakes_the_pusher_once_for_each_mark(pusher):
    worker, wakes = Worker(pusher.wiring, 0), []
    pusher.wiring.wake_pusher.set = lambda: wakes.append(pusher.state.wake_at)
    for pusher.state.wake_at in (5, 0, 20):
        for number in range(pusher.state.wake_at - 2, pusher.state.wake_at + 10):
            worker._wake_pusher_at_low_water(number)
    assert wakes == [5, 20]


def test_stop_while_the_channel_is_full_releases_all_tasks(pusher, monkeypatch):
    packages = [f"{number:04}" * 200 for number in range(2000)]
    pusher.broker.enqueue_many(packages)
    pusher.window = Prefetch(len(packages), may_exceed=False)
    send, refused = pusher.tasks.send, []

    def send_until_stopped(message: bytes, *, wait: float = 0.0) -> bool:
        if send(message):
            return True
        refused.append(message)
        assert len(refused) < len(packages), "it blocks while there is no room"
        pusher._stop(signal.SIGTERM, None)
        return False

    monkeypatch.setattr(pusher.tasks, "send", send_until_stopped)
    pusher.step()
    assert refused
    assert not pusher.step()
    pusher.stop()
    assert (pusher.broker.queue_size(), pusher.broker.lock_size()) == (len(packages), 0)
    assert [package for _, package, _ in pusher.broker.dequeue_many(len(packages), 0)] == packages


def test_stop_pushes_tasks_without_receipt(pusher, monkeypatch):
    messages = [bytes([number]) * 1000 for number in range(200)]
    monkeypatch.setattr(pusher.broker, "dequeue_many", lambda limit, wait: [Delivery(None, each) for each in messages])
    send, received = pusher.tasks.send, []

    def send_to_a_slow_worker(message: bytes, *, wait: float = 0.0) -> bool:
        if send(message):
            return True
        pusher._stop(signal.SIGTERM, None)
        received.append(TaskMessage.unpack(pusher.tasks.receive(block=False)).package)
        return False

    monkeypatch.setattr(pusher.tasks, "send", send_to_a_slow_worker)
    pusher.step()
    pusher.stop()
    assert received
    received += [task.package for task in pusher._withdraw()]
    assert received == messages


class Slow:
    """Makes calls of a broker slow, like a locked table."""

    def __init__(self, pusher: Pusher, monkeypatch: pytest.MonkeyPatch) -> None:
        self.now, self.log, broker = 1000.0, [], pusher.broker
        self.seconds = {"renew": [0.0], "dequeue_many": [0.0]}
        monkeypatch.setattr("django_q.cluster.processes.pusher.time.monotonic", lambda: self.now)
        for name in self.seconds:
            monkeypatch.setattr(broker, name, self.slowly(name, getattr(broker, name)))

    def slowly(self, name, method):
        def call(*args, wait=0.0):
            answer = method(*args, 0) if name == "dequeue_many" else method(*args)
            seconds = self.seconds[name]
            self.now += seconds.pop(0) if len(seconds) > 1 else seconds[0]
            self.log.append(name)
            return answer

        return call


@pytest.fixture
def slow(pusher, monkeypatch):
    return Slow(pusher, monkeypatch)


def test_nothing_is_fetched_while_renewals_are_overdue(pusher, slow):
    pusher.broker.enqueue("package")
    pusher.step()
    take(pusher, 0)
    slow.seconds["renew"] = [pusher.settings.retry, 0.0]
    slow.log.clear()
    pusher.leases.renew_at = 0.0
    for _ in range(3):
        pusher.step()
    assert slow.log == ["renew", "renew", "dequeue_many", "dequeue_many"]


def test_lease_of_a_slow_fetch_is_renewed_before_its_task_begins(pusher, slow):
    pusher.broker.enqueue_many(["lost", "kept"])
    slow.seconds["dequeue_many"] = [pusher.settings.retry * 0.6, 0.0]
    lost = []
    renew = pusher.broker.renew
    pusher.broker.renew = lambda leases: lost.extend(leases[:1]) or [*renew(leases), *leases[:1]]
    pusher.step()
    assert slow.log[:2] == ["dequeue_many", "renew"]
    assert len(lost) == 1
    assert [task.package for task in pusher._withdraw()] == [b"kept"]


def test_successor_renews_running_tasks_at_once(pusher, monkeypatch):
    monkeypatch.setattr("django_q.cluster.processes.pusher.consuming_broker", lambda settings: pusher.broker)
    monkeypatch.setattr("django_q.cluster.processes.pusher.signal.signal", lambda *handler: None)
    pusher.broker.enqueue("package")
    pusher.step()
    take(pusher, 0)
    successor, renewed = Pusher(pusher.wiring), []
    monkeypatch.setattr(pusher.broker, "renew", lambda leases: renewed.extend(leases) or [])
    successor.start()
    successor.step()
    assert len(renewed) == 1


def test_warnings_about_the_server_are_logged_once(pusher, monkeypatch, caplog):
    answers = [BrokerUnavailable(), ["it deletes packages"], ["it deletes packages"]]

    def server_warnings(self):
        answer = answers.pop(0)
        if isinstance(answer, Exception):
            raise answer
        return answer

    monkeypatch.setattr(MemoryBroker, "server_warnings", server_warnings)
    for _ in range(3):
        pusher.retry_at = 0.0
        pusher.step()
    assert caplog.text.count("it deletes packages") == 1
    assert len(answers) == 1


@pytest.mark.parametrize(("pushed", "warned"), [(0, False), (1, True)])
def test_successor_does_not_repeat_warnings_about_the_server(pusher, monkeypatch, pushed, warned):
    monkeypatch.setattr(signal, "signal", lambda *_: None)
    monkeypatch.setattr("django_q.cluster.processes.pusher.consuming_broker", lambda settings: pusher.broker)
    pusher.state.pushed = pushed
    pusher.start()
    assert pusher.warned is warned


@pytest.fixture
def stop_requests(pusher, monkeypatch):
    """Process ids that the pusher asked to stop."""
    asked: list[int] = []
    monkeypatch.setattr("django_q.cluster.processes.pusher.os.kill", lambda pid, number: asked.append(pid))
    pusher.state.parent, pusher.state.burst, pusher.state.scheduled = 4711, 1, 1
    return asked


def test_burst_ends_after_two_empty_fetches(pusher, stop_requests):
    pusher.step()
    assert stop_requests == []
    pusher.step()
    assert stop_requests == [4711]


@pytest.mark.parametrize(("name", "value"), [("burst", 0), ("scheduled", 0), ("hooks", 1), ("backlog", 1)])
def test_burst_goes_on_while_something_is_due(pusher, stop_requests, name, value):
    setattr(pusher.state, name, value)
    for _ in range(3):
        pusher.step()
    assert stop_requests == []


@pytest.mark.parametrize("state", [WorkerState.BUSY, WorkerState.SENDING])
def test_burst_goes_on_while_a_worker_has_a_task(pusher, stop_requests, state):
    pusher.state.slots[1].state = state
    for _ in range(3):
        pusher.step()
    assert stop_requests == []


def test_package_between_two_empty_fetches_prolongs_a_burst(pusher, stop_requests):
    pusher.step()
    pusher.broker.enqueue("package")
    pusher.step()
    assert pusher.state.waiting == 1
    take(pusher, 0)
    pusher.state.slots[0].finish(sent=False)
    pusher.step()
    assert stop_requests == []
    pusher.step()
    assert stop_requests == [4711]
