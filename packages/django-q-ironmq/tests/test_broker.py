from __future__ import annotations

import errno
import os
import resource
import tempfile
import time
import uuid
from contextlib import contextmanager
from pathlib import Path

import pytest
from django_q.brokers import FAIR_FETCHES
from django_q.brokers.bands import Band
from django_q.exceptions import BrokerError, BrokerUnavailable, ConfigurationError
from django_q.settings import ClusterSettings
from django_q.testing import eventually
from django_q_ironmq import IronMQBroker, client
from django_q_ironmq.broker import Lease
from django_q_ironmq.reservations import Reservations
from iron_mq import IronMQ as Product

from tests.forks import in_a_fork
from tests.services import IronMQ


@pytest.fixture
def make(ironmq_server, monkeypatch):
    ironmq_server.start()
    monkeypatch.setattr(IronMQBroker, "min_lease_seconds", 1)

    def make(name="", **q_cluster):
        settings = ClusterSettings.from_mapping({"iron_mq": ironmq_server.options, "retry": 60, **q_cluster})
        return IronMQBroker(name or f"own-{uuid.uuid4().hex[:12]}", settings=settings)

    return make


@pytest.fixture
def requests(monkeypatch):
    """Requests that were sent, as method and path."""
    made, real = [], client.TimelyClient._doRequest

    def note(self, url, method, *more, **options):
        made.append(f"{method} {url.partition('/queues/')[2].partition('/')[2]}")
        return real(self, url, method, *more, **options)

    monkeypatch.setattr(client.TimelyClient, "_doRequest", note)
    return made


def test_another_process_acknowledges_a_renewed_message(make):
    pusher = make()
    monitor = make(pusher.list_key)
    pusher.enqueue_many(["one", "two", "three"])
    one, two, three = (delivery.ack_id for delivery in pusher.dequeue_many(3, 1))
    for _ in range(3):
        assert pusher.renew([one, two]) == []
    assert in_a_fork(lambda: monitor.acknowledge_many([one, two, three]) == [])
    assert pusher.renew([one, two, three]) == [one, two, three]


def test_another_process_releases_a_renewed_message(make):
    pusher = make()
    monitor = make(pusher.list_key)
    pusher.enqueue("package")
    mine = pusher.dequeue_many(1, 1)[0].ack_id
    pusher.renew([mine])
    assert in_a_fork(lambda: monitor.release(mine) is True)
    assert [delivery.package for delivery in monitor.dequeue_many(1, 1)] == ["package"]


def test_another_process_renews_a_renewed_message(make):
    pusher = make()
    successor = make(pusher.list_key)
    pusher.enqueue("package")
    mine = pusher.dequeue_many(1, 1)[0].ack_id
    assert pusher.renew([mine]) == successor.renew([mine]) == pusher.renew([mine]) == []
    assert successor.acknowledge(mine)


def test_settled_messages_leave_no_files(make):
    broker = make()
    broker.enqueue("package")
    mine = broker.dequeue_many(1, 1)[0].ack_id
    broker.renew([mine])
    kept = broker._reservations()
    lease = Lease.of(mine)
    assert kept.newest(*lease.key) != lease.receipt
    broker.acknowledge(mine)
    assert kept.newest(*lease.key) == lease.receipt


def test_nothing_is_renewed_if_ids_cannot_be_kept(make, monkeypatch, requests):
    broker = make()
    broker.enqueue("package")
    mine = broker.dequeue_many(1, 1)[0].ack_id
    monkeypatch.setattr(Reservations, "usable", lambda self: False)
    assert broker.renew([mine]) == []
    assert not [request for request in requests if "touch" in request]
    assert broker.acknowledge(mine)


@contextmanager
def full_disk():
    """Fail when a file grows or is created."""
    real = os.open

    def refuse(*arguments, **options):
        raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))

    def only_existing(path, flags, *more, **options):
        return real(path, flags & ~os.O_CREAT, *more, **options) if Path(path).exists() else refuse()

    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(os, "open", only_existing)
        patch.setattr(os, "mkdir", refuse)
        yield


def test_full_disk_is_unavailable_and_keeps_the_lease(make, requests):
    broker = make()
    broker.enqueue("package")
    mine = broker.dequeue_many(1, 1)[0].ack_id
    broker.renew([mine])
    requests.clear()
    with full_disk(), pytest.raises(BrokerUnavailable, match="No space left"):
        broker.renew([mine])
    assert not requests
    assert broker.renew([mine]) == []
    assert broker.acknowledge(mine)


def test_missing_folder_on_a_full_disk_is_unavailable(make, monkeypatch, tmp_path):
    monkeypatch.setenv("TMPDIR", str(tmp_path))
    with full_disk(), pytest.raises(BrokerUnavailable, match="No space left"):
        make().renew(["1:1"])


def test_new_id_can_be_written_to_a_full_disk(tmp_path):
    kept = Reservations("queue", tmp_path)
    kept.begin("message", "r1")
    with full_disk():
        kept.keep("message", "r1", "r2")
    assert kept.newest("message", "r1") == "r2"


def test_file_that_cannot_grow_is_unavailable(make):
    broker = make()
    broker.enqueue("package")
    mine = broker.dequeue_many(1, 1)[0].ack_id

    def renew_with_small_files():
        resource.setrlimit(resource.RLIMIT_FSIZE, (0, resource.RLIM_INFINITY))
        with pytest.raises(BrokerUnavailable):
            broker.renew([mine])
        return True

    assert in_a_fork(renew_with_small_files)
    assert broker.acknowledge(mine)


def test_all_processes_choose_the_same_full_folder(monkeypatch, tmp_path):
    monkeypatch.setenv("TMPDIR", str(tmp_path))
    monkeypatch.setattr(tempfile, "gettempdir", lambda: "/elsewhere")
    assert Reservations("queue").folder.parent == tmp_path


def test_folder_of_another_user_is_not_used(tmp_path):
    tmp_path.chmod(0o777)
    assert not Reservations("queue", tmp_path).usable()
    assert not Reservations("queue", tmp_path / "missing" / "too").usable()
    assert Reservations("queue", tmp_path / "ours").usable()


def test_old_reservations_are_deleted(tmp_path):
    kept = Reservations("queue", tmp_path)
    kept.keep("old", "r1", "r2")
    os.utime(next(tmp_path.iterdir()), (0, 0))
    kept.keep("new", "r1", "r2")
    kept.delete_old()
    assert (kept.newest("old", "r1"), kept.newest("new", "r1")) == ("r1", "r2")


def test_batches_are_one_request_each(make, requests):
    broker = make()
    broker.dequeue_many(1, 0)  # it knows that no band has a queue
    requests.clear()
    broker.enqueue_many([f"package {number}" for number in range(100)])
    found = broker.dequeue_many(200, 1)
    assert len(found) == 100
    assert broker.acknowledge_many([delivery.ack_id for delivery in found]) == []
    assert requests == ["POST messages", "POST reservations", "DELETE messages"]


def test_lease_is_within_the_limits_of_the_service(make, monkeypatch):
    monkeypatch.undo()
    with IronMQ() as strict:
        for retry in (0.5, 100_000):
            broker = make(f"strict-{retry:g}", retry=retry, iron_mq=strict.options)
            broker.enqueue("package")
            mine = broker.dequeue_many(1, 1)[0].ack_id
            assert broker.renew([mine]) == []
            assert broker.acknowledge(mine)


def test_delay_over_the_limit_of_the_service_is_rejected(make):
    with pytest.raises(BrokerError, match="604800"):
        make().enqueue("package", delay=604_801)


def test_hung_server_is_unavailable(make, ironmq_server, monkeypatch):
    monkeypatch.setattr(client, "TIMEOUT_SECONDS", (0.3, 0.3))
    broker = make()
    ironmq_server.pause()
    try:
        with pytest.raises(BrokerUnavailable):
            broker.enqueue("package")
        assert broker.ping() is False
    finally:
        ironmq_server.resume()
    eventually(broker.ping)


def test_wrong_token_is_rejected(make, ironmq_server):
    broker = make(iron_mq=ironmq_server.options | {"token": "wrong"})
    with pytest.raises(BrokerError, match="401"):
        broker.enqueue("package")
    assert broker.ping() is False


@pytest.mark.parametrize("slip", [{}, {"project_id": "p"}, {"project_id": "p", "token": "t", "prot": 1}])
def test_mistake_in_the_settings_is_a_configuration_error(slip, monkeypatch, tmp_path):
    monkeypatch.setenv("HOME", str(tmp_path))
    settings = ClusterSettings.from_mapping({"iron_mq": slip})
    with pytest.raises(ConfigurationError, match="iron_mq"):
        _ = IronMQBroker("queue", settings=settings).connection


def test_brokers_of_a_process_share_a_client(make):
    assert make().connection is make().connection


def test_missing_queue_is_empty(make):
    broker = make()
    assert broker.queue_size() == 0
    broker.purge_queue()
    broker.delete_queue()
    assert broker.dequeue_many(1, 0) == []


def test_packages_of_priority_0_are_in_the_queue_of_the_manual(make, ironmq_server):
    broker = make()
    for priority in (-100, -1, 0, 1, 100):
        broker.enqueue(f"{priority}", priority=priority)
    product = Product(**ironmq_server.options)
    assert [product.queue(f"{broker.list_key}{end}").size() for end in ("--top", "", "--low")] == [2, 1, 2]


def test_fetch_without_bands_is_one_request(make, requests):
    broker = make()
    broker.dequeue_many(1, 0)
    requests.clear()
    for _ in range(2 * FAIR_FETCHES):
        assert broker.dequeue_many(1, 0) == []
    assert requests == ["POST reservations"] * 2 * FAIR_FETCHES


def test_idle_fetch_with_bands_is_one_request_for_each(make, requests):
    broker = make()
    for priority in (-1, 1):
        broker.enqueue("package", priority=priority)
        broker.acknowledge(broker.dequeue_many(1, 1)[0].ack_id)
    broker.dequeue_many(1, 1)
    requests.clear()
    assert broker.dequeue_many(1, 1) == []
    assert requests == ["POST reservations"] * 3


def test_many_of_a_low_priority_do_not_wait_for_others(make):
    broker = make()
    broker.enqueue_many(["package"] * 9, priority=-1)
    broker.dequeue_many(1, 1)
    started = time.monotonic()
    assert [len(broker.dequeue_many(1, 1)) for _ in range(8)] == [1] * 8
    assert time.monotonic() - started < 2


def test_settling_is_one_request_for_each_band(make, requests):
    broker = make()
    for priority in (-1, 0, 1):
        broker.enqueue_many(["one", "two"], priority=priority)
    ids = [each.ack_id for _ in range(3) for each in broker.dequeue_many(2, 1)]
    requests.clear()
    assert broker.acknowledge_many(ids) == []
    assert requests == ["DELETE messages"] * 3
    assert broker.acknowledge_many(ids) == ids


@pytest.mark.parametrize("method", ["purge_queue", "delete_queue"])
def test_bands_that_count_as_missing_are_emptied(make, method):
    broker = make()
    broker.enqueue("package", priority=-1)
    broker.note_missing(Band.LOW)
    getattr(broker, method)()
    broker.note_present(Band.LOW)
    assert broker.queue_size() == 0


@pytest.mark.parametrize("name", ["mail--top", "mail--low"])
def test_cluster_cannot_have_the_name_of_a_band(name):
    assert "priorities" in (IronMQBroker.name_problem(name) or "")
