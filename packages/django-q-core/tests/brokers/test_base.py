from __future__ import annotations

import itertools
import pickle
import time
from collections import deque

import pytest
from django_q.brokers import Broker, Delivery
from django_q.exceptions import sent_before
from django_q.settings import ClusterSettings
from django_q.testing import BrokerConformance, eventually

QUEUES: dict[str, deque[str]] = {}


class OldBroker(Broker):
    """As one was written for the public editions: no settings, no bulk, bytes, and a `fail` that deletes."""

    def __init__(self, list_key="old"):
        super().__init__(list_key)

    @staticmethod
    def get_connection(list_key="old"):
        return QUEUES

    def enqueue(self, task):
        queue = self.connection.setdefault(self.list_key, deque())
        queue.append(task)
        return len(queue)

    def dequeue(self):
        queue = self.connection.get(self.list_key)
        return [(None, queue.popleft().encode())] if queue else None

    def queue_size(self):
        return len(self.connection.get(self.list_key, ()))

    def purge_queue(self):
        self.connection.pop(self.list_key, None)

    delete_queue = purge_queue

    def fail(self, task_id):
        raise AssertionError("never called: it would delete the package")


class OldBrokerWithReceipts(OldBroker):
    def dequeue(self):
        return [(1, "one"), (2, "two")]

    def acknowledge(self, task_id):
        self.acknowledged = [*getattr(self, "acknowledged", []), task_id]


class LeasingBroker(OldBroker):
    """As one with receipts was written for the public editions: it does not count its deliveries."""

    numbers = itertools.count()

    def enqueue(self, task):
        self.leases[next(self.numbers)] = 0.0, task

    def dequeue(self):
        for number, (ends, task) in self.leases.items():
            if ends <= time.monotonic():
                self.leases.pop(number)
                lease = next(self.numbers)
                self.leases[lease] = time.monotonic() + self.settings.retry, task
                return [(lease, task)]
        return None

    def acknowledge(self, task_id):
        return self.leases.pop(task_id, None) is not None

    def queue_size(self):
        return sum(ends <= time.monotonic() for ends, _task in self.leases.values())

    def purge_queue(self):
        self.leases.clear()

    delete_queue = purge_queue

    @property
    def leases(self):
        return QUEUES.setdefault(self.list_key, {})


DEAD_LETTERS = "public editions have no dead letters, so that these brokers do not delete them"
PURGE = "public editions purge what is under a lease, too"


class TestOldBroker(BrokerConformance):
    """Everything that newer methods promise is there in terms of the old ones."""

    shared = False
    not_promised = {"test_deleted_queue_has_no_dead_letters": DEAD_LETTERS}

    @pytest.fixture
    def make_broker(self):
        return OldBroker


class TestOldBrokerWithReceipts(BrokerConformance):
    """The Django cache counts attempts for a broker that does not."""

    retry = 0.3
    shared = False
    not_promised = {"test_deleted_queue_has_no_dead_letters": DEAD_LETTERS, "test_purge_keeps_leases": PURGE}

    @pytest.fixture
    def make_broker(self):
        return LeasingBroker


class CountingBroker(LeasingBroker):
    """A custom broker that knows the attempt number."""

    def dequeue(self):
        return [(*found, 5) for found in super().dequeue() or ()]


def test_attempt_number_of_the_broker_is_kept():
    broker = CountingBroker("counting")
    broker.enqueue("package")
    assert [found[1:] for found in broker.dequeue_many(1, 0)] == [("package", 5)]


def test_task_that_did_not_start_is_no_attempt():
    broker = LeasingBroker("not started")
    broker.settings = ClusterSettings(retry=0.01)
    broker.enqueue("package")
    for _ in range(3):
        [found] = eventually(lambda: broker.dequeue_many(1, 0))
        assert found.attempt == 1
        broker.release_many([found.ack_id])


def test_without_a_cache_each_delivery_is_the_first():
    broker = LeasingBroker("no cache")
    broker.settings = ClusterSettings(retry=0.01, cache="nowhere")
    broker.enqueue("package")
    assert [eventually(lambda: broker.dequeue_many(1, 0))[0].attempt for _ in range(2)] == [1, 1]


def test_acknowledging_is_what_gives_receipts():
    assert (OldBroker.supports_receipts, OldBrokerWithReceipts.supports_receipts) == (False, True)


def test_what_is_declared_goes_before_what_is_derived():
    class Declared(OldBrokerWithReceipts):
        supports_receipts = False

    class Heir(Declared):
        def acknowledge(self, task_id):
            return True

    assert Heir.supports_receipts is False


def test_old_broker_acknowledges_one_by_one():
    broker = OldBrokerWithReceipts()
    assert broker.acknowledge_many([1, 2]) == []
    assert broker.acknowledged == [1, 2]


class Cut(OldBroker):
    """Loses its connection after two packages, with an error of its client."""

    def enqueue(self, task):
        if self.queue_size() == 2:
            raise OSError("cut")
        return super().enqueue(task)


def test_failed_batch_reports_the_packages_that_were_sent():
    broker = Cut("cut")
    with pytest.raises(OSError, match="cut") as caught:
        broker.enqueue_many(["one", "two", "three", "four"])
    assert sent_before(caught.value) == {0, 1}
    assert sent_before(pickle.loads(pickle.dumps(caught.value))) == {0, 1}
    broker.purge_queue()


def test_old_broker_that_gives_more_loses_none():
    assert OldBrokerWithReceipts().dequeue_many(1, 0) == [Delivery(1, "one"), Delivery(2, "two")]


def test_old_broker_that_does_not_wait_is_not_asked_without_pause():
    broker = OldBroker("nobody")
    broker.settings = ClusterSettings(poll=0.1)
    started = time.monotonic()
    broker.dequeue_many(1, 1)
    assert time.monotonic() - started >= 0.1


def test_queue_can_be_changed_afterwards():
    broker = OldBroker()
    broker.list_key = "another"
    assert pickle.loads(pickle.dumps(broker)).list_key == "another"


def test_nothing_of_a_connection_is_pickled():
    broker = OldBroker()
    broker.connection = lambda: "cannot be pickled"
    assert pickle.loads(pickle.dumps(broker)).connection is QUEUES


def test_broker_without_settings_follows_the_current_ones(settings):
    broker = Broker()
    settings.Q_CLUSTER = {"retry": 7}
    assert broker.settings.retry == 7


def test_queue_is_that_of_the_settings():
    assert Broker(settings=ClusterSettings(cluster_name="other")).list_key == "other"


def test_cache_that_does_not_exist_is_none():
    assert Broker.get_cache("nowhere") is None


class UncountedBroker(OldBroker):
    """A custom broker that cannot tell how many packages wait."""

    queue_size = Broker.queue_size


def test_broker_that_counts_nothing_requeues_each_dead_letter_once(monkeypatch):
    broker = UncountedBroker("uncounted")
    for package in ("one", "two"):
        broker.bury(Delivery(None, package))

    def enqueue_and_bury(self, package):
        OldBroker.enqueue(self, package)
        if self.list_key == "uncounted":
            self.bury(self.dequeue_many(1, 0)[0])

    monkeypatch.setattr(UncountedBroker, "enqueue", enqueue_and_bury)
    assert broker.requeue_dead() == 2
    assert sorted(QUEUES[broker.dead_key]) == ["one", "two"]


def test_old_broker_that_gives_more_requeues_no_more_than_asked_for():
    class Generous(OldBroker):
        def dequeue(self):
            return [found for _ in range(self.queue_size()) for found in OldBroker.dequeue(self)]

    broker = Generous("generous")
    for package in ("one", "two", "three"):
        broker.bury(Delivery(None, package))
    assert broker.requeue_dead(2) == 2
    assert (list(QUEUES["generous"]), list(QUEUES["generous-dead"])) == (["one", "two"], ["three"])
