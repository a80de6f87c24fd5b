from __future__ import annotations

import os
import signal
import time

import pytest
from django_q.brokers.memory import ADDRESS, MemoryBroker
from django_q.exceptions import BrokerUnavailable
from django_q.settings import ClusterSettings
from django_q.testing import MemoryServer, eventually


@pytest.fixture
def broker():
    with MemoryServer():
        broker = MemoryBroker("served", settings=ClusterSettings(retry=0.3))
        yield broker
        broker.delete_queue()


def test_package_of_a_killed_client_is_redelivered(broker: MemoryBroker):
    broker.enqueue("package")
    child = os.fork()
    if not child:
        broker.dequeue_many(1, 1)
        time.sleep(60)
    eventually(lambda: broker.lock_size() == 1)
    os.kill(child, signal.SIGKILL)
    os.waitpid(child, 0)
    assert eventually(lambda: broker.dequeue_many(1, 0.1))[0].package == "package"


def test_waiting_client_that_is_killed_does_not_affect_others(broker: MemoryBroker):
    child = os.fork()
    if not child:
        broker.dequeue_many(1, 60)
        os._exit(0)
    time.sleep(0.1)
    os.kill(child, signal.SIGKILL)
    os.waitpid(child, 0)
    broker.enqueue("package")
    assert eventually(lambda: broker.dequeue_many(1, 0.1))[0].package == "package"


def test_stopped_server_is_unavailable(monkeypatch: pytest.MonkeyPatch):
    with MemoryServer() as server:
        pass
    monkeypatch.setenv(ADDRESS, server.address)
    broker = MemoryBroker("served")
    assert broker.ping() is False
    with pytest.raises(BrokerUnavailable):
        broker.enqueue("package")


def test_environment_is_restored():
    before = os.environ.get(ADDRESS)
    with MemoryServer():
        pass
    assert os.environ.get(ADDRESS) == before
