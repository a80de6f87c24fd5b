"""Broker of several queues: it keeps the promises of its brokers, for all its queues."""

from __future__ import annotations

import pickle
from dataclasses import replace

import pytest
from django_q.brokers import consuming_broker
from django_q.brokers.memory import MemoryBroker
from django_q.brokers.queue_set import QueueLease, QueueSet
from django_q.exceptions import ConfigurationError
from django_q.settings import ClusterSettings
from django_q.testing import BrokerConformance

SETTINGS = ClusterSettings(name="own", broker_class="django_q.brokers.memory.MemoryBroker", retry=60)


class TestQueueSet(BrokerConformance):
    shared = False

    @pytest.fixture
    def make_broker(self):
        return lambda list_key: QueueSet([MemoryBroker(list_key), MemoryBroker(f"{list_key}-second")])


@pytest.fixture
def queues():
    found = consuming_broker(replace(SETTINGS, queues=["default", "mail"]))
    found.delete_queue()
    yield found
    found.delete_queue()


def test_default_is_the_own_queue(queues) -> None:
    assert queues.list_keys == ["own", "mail"]
    assert isinstance(consuming_broker(SETTINGS), MemoryBroker)
    assert consuming_broker(replace(SETTINGS, queues=["default", "own"])).list_keys == ["own"]
    assert consuming_broker(replace(SETTINGS, queues=["mail"])).list_keys == ["mail"]


def test_dead_letter_queue_is_not_consumed() -> None:
    with pytest.raises(ConfigurationError, match="mail-dead"):
        consuming_broker(replace(SETTINGS, queues=["default", "mail-dead"]))


def test_packages_of_all_queues_are_delivered(queues) -> None:
    own, mail = queues.brokers
    own.enqueue_many(["own 1", "own 2"])
    mail.enqueue_many(["mail 1", "mail 2"])
    assert queues.queue_size() == 4
    found = queues.dequeue_many(10, 1)
    assert sorted(each.package for each in found) == ["mail 1", "mail 2", "own 1", "own 2"]
    assert queues.lock_size() == 4
    assert queues.acknowledge_many([each.ack_id for each in found]) == []
    assert (own.lock_size(), mail.lock_size()) == (0, 0)


def test_no_queue_starves(queues) -> None:
    own, mail = queues.brokers
    own.enqueue_many(["own"] * 10)
    mail.enqueue_many(["mail"] * 10)
    found = [queues.dequeue_many(1, 0)[0].package for _ in range(10)]
    assert found.count("own") == found.count("mail") == 5


def test_lost_leases_are_those_of_their_queue(queues) -> None:
    own, mail = queues.brokers
    own.enqueue("own")
    mail.enqueue("mail")
    leases = {each.package: each.ack_id for each in queues.dequeue_many(10, 1)}
    mail.delete_queue()
    assert queues.renew(list(leases.values())) == [leases["mail"]]
    assert queues.release_many(list(leases.values())) == [leases["mail"]]
    assert own.queue_size() == 1


def test_dead_letter_stays_in_its_queue(queues) -> None:
    _, mail = queues.brokers
    mail.enqueue("unreadable")
    queues.move_to_dead_letters(queues.dequeue_many(1, 1)[0])
    assert (queues.dead_size(), mail.dead_size()) == (1, 1)
    assert queues.requeue_dead() == 1
    assert mail.queue_size() == 1


def test_queues_are_pickled(queues) -> None:
    copy = pickle.loads(pickle.dumps(queues))
    assert copy.list_keys == queues.list_keys
    assert copy.supports_renewal
    lease = QueueLease(1, 7)
    assert pickle.loads(pickle.dumps(lease)) == lease
    assert copy.broker_of_delivery(lease).list_key == "mail"
