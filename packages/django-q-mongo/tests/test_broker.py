from __future__ import annotations

import uuid
from datetime import UTC, datetime, timedelta
from zoneinfo import ZoneInfo

import pymongo.monitoring
import pytest
from django_q.brokers import FAIR_FETCHES
from django_q.exceptions import ConfigurationError, PackageTooLarge
from django_q.settings import ClusterSettings
from django_q.testing import eventually
from django_q_mongo import Mongo, documents
from django_q_mongo import broker as broker_module
from django_q_mongo.client import client_for, database_of


class Commands(pymongo.monitoring.CommandListener):
    def __init__(self):
        self.names = []

    def started(self, event):
        if event.command_name != "hello":  # the clock of the server is read every few seconds
            self.names.append(event.command_name)

    def succeeded(self, event):
        pass

    failed = succeeded


@pytest.fixture
def make(mongo_server):
    mongo_server.start()
    made = []

    def make(name="", **q_cluster):
        options = mongo_server.options | q_cluster.pop("mongo", {})
        settings = ClusterSettings.from_mapping({"mongo": options, "retry": 60, **q_cluster})
        made.append(Mongo(name or f"own-{uuid.uuid4().hex[:12]}", settings=settings))
        return made[-1]

    yield make
    for broker in made:
        broker.delete_queue()


def ago(seconds):
    return datetime.now(UTC) - timedelta(seconds=seconds)


def packages(found):
    return [delivery.package for delivery in found]


INDEXES = [{"_id": 1}, {"due": 1, "_id": 1}, {"rank": 1, "due": 1, "_id": 1}]


def keys(broker):
    return [dict(index["key"]) for index in broker.collection.list_indexes()]


def test_indexes_are_created_at_the_first_use(make):
    broker = make()
    broker.enqueue("package")
    assert keys(broker) == INDEXES


@pytest.mark.parametrize("use", [lambda broker: broker.enqueue("package"), lambda broker: broker.dequeue_many(1, 0)])
def test_indexes_are_created_again_after_a_drop_of_the_collection(make, monkeypatch, use):
    broker, now = make(), broker_module.clock.monotonic
    broker.enqueue("package")
    broker.collection.drop()
    monkeypatch.setattr(broker_module.clock, "monotonic", lambda: now() + broker_module.INDEX_CHECK_SECONDS)
    use(broker)
    assert keys(broker) == INDEXES


def test_expired_lease_cannot_dead_letter(make):
    broker = make(retry=0.05)
    broker.enqueue("package")
    lost = broker.dequeue_many(1, 0)[0]
    eventually(lambda: broker.queue_size() == 1)
    broker.move_to_dead_letters(lost)
    assert (broker.queue_size(), broker.dead_size()) == (1, 0)


def test_purge_keeps_the_index_and_the_leases(make):
    broker = make()
    broker.enqueue_many(["leased", "waiting"])
    broker.enqueue("hidden", delay=60)
    mine = broker.dequeue_many(1, 0)
    broker.purge_queue()
    assert keys(broker) == INDEXES
    assert broker.collection.count_documents({}) == 1
    assert broker.acknowledge(mine[0].ack_id)


def test_changed_retry_does_not_affect_existing_leases(make):
    broker = make(retry=60)
    broker.enqueue("package")
    broker.dequeue_many(1, 0)
    assert make(broker.list_key, retry=0.001).dequeue_many(1, 0.2) == []


def test_batch_takes_at_most_three_commands(make, monkeypatch):
    monkeypatch.setattr("django_q_mongo.broker.INDEX_CHECK_SECONDS", 60)  # not again on a slow machine
    listener = Commands()
    monkeypatch.setattr("django_q_mongo.broker.ADOPTION_SECONDS", 60)
    broker = make(mongo={"event_listeners": [listener]})
    broker.dequeue_many(1, 0)  # adopts packages of older senders
    broker.enqueue_many([f"package {number}" for number in range(50)])
    listener.names.clear()
    found = broker.dequeue_many(50, 0)
    assert packages(found) == [f"package {number}" for number in range(50)]
    assert len(listener.names) == 3
    listener.names.clear()
    broker.acknowledge_many([delivery.ack_id for delivery in found])
    assert len(listener.names) == 2


@pytest.mark.parametrize(("limit", "commands"), [(1, 1), (50, 3)])
def test_fetch_without_priorities_needs_no_more_commands(make, monkeypatch, limit, commands):
    monkeypatch.setattr("django_q_mongo.broker.INDEX_CHECK_SECONDS", 60)
    monkeypatch.setattr("django_q_mongo.broker.ADOPTION_SECONDS", 60)
    listener = Commands()
    broker = make(mongo={"event_listeners": [listener]})
    broker.dequeue_many(1, 0)  # adopts, and creates the indexes
    broker.enqueue_many(["package"] * limit * FAIR_FETCHES)
    counts = []
    for _ in range(FAIR_FETCHES):
        listener.names.clear()
        assert len(broker.dequeue_many(limit, 0)) == limit
        counts.append(len(listener.names))
    assert sorted(counts) == [commands] * (FAIR_FETCHES - 1) + [commands + 1]


def test_fair_fetch_fills_the_batch_by_priority(make):
    broker = make()
    for priority in (5, -1, 7, 0, 7, -2):
        broker.enqueue(f"{priority}", priority=priority)
    broker._fetches = FAIR_FETCHES - 1
    assert packages(broker.dequeue_many(5, 0)) == ["5", "7", "7", "0", "-1"]


def test_package_of_an_older_sender_has_priority_0(make):
    broker = make()
    broker.enqueue("low", priority=-1)
    broker.collection.insert_one({"payload": "of old", "lock": ago(60)})
    broker.enqueue("high", priority=1)
    assert packages(broker.dequeue_many(3, 0)) == ["high", "of old", "low"]


def test_package_of_an_older_sender_is_adopted_within_a_second(make, monkeypatch):
    monkeypatch.setattr("django_q_mongo.broker.ADOPTION_SECONDS", 0.1)
    broker = make()
    assert broker.dequeue_many(1, 0) == []
    broker.collection.insert_one({"payload": "of old", "lock": ago(60)})
    assert packages(eventually(lambda: broker.dequeue_many(1, 0), within=5)) == ["of old"]


def test_requeued_dead_letter_keeps_its_priority(make):
    broker = make()
    broker.enqueue("high", priority=1)
    broker.move_to_dead_letters(broker.dequeue_many(1, 0)[0])
    broker.enqueue("normal")
    broker.requeue_dead()
    assert packages(broker.dequeue_many(2, 0)) == ["high", "normal"]


def test_brokers_of_a_process_share_a_client(make):
    assert make().connection is make().connection


def test_package_of_an_older_sender_is_fetched(make):
    broker = make(retry=60)
    broker.collection.insert_one({"payload": "of old", "lock": ago(60)})
    found = broker.dequeue_many(5, 0)
    assert packages(found) == ["of old"]
    assert broker.acknowledge(found[0].ack_id)


@pytest.mark.parametrize("zone", ["Asia/Tokyo", "America/New_York"])
def test_times_of_an_older_edition_are_local_without_time_zones(make, monkeypatch, zone):
    naive = lambda seconds=0: datetime.now(ZoneInfo(zone)).replace(tzinfo=None) - timedelta(seconds=seconds)  # noqa: E731
    monkeypatch.setattr(documents.timezone, "now", naive)
    broker = make(retry=60)
    broker.collection.insert_one({"payload": "sent", "lock": naive(60)})
    broker.collection.insert_one({"payload": "held", "lock": naive()})
    assert packages(broker.dequeue_many(5, 0)) == ["sent"]


def test_package_of_an_older_sender_further_east_is_fetched(make):
    broker = make(retry=60)
    broker.collection.insert_one({"payload": "of old", "lock": ago(60 - 9 * 3600)})
    assert packages(broker.dequeue_many(5, 0)) == ["of old"]


def test_package_held_by_an_older_cluster_is_not_fetched(make):
    broker = make(retry=60)
    broker.collection.insert_one({"payload": "of old", "lock": ago(5)})
    broker.enqueue("ours")
    broker.collection.update_one({"payload": "ours"}, {"$set": {"lock": ago(-1)}})
    assert broker.dequeue_many(5, 0) == []
    broker.collection.update_many({}, {"$set": {"lock": ago(61)}})
    assert sorted(packages(broker.dequeue_many(5, 0))) == ["of old", "ours"]


def test_older_cluster_sees_waiting_packages_only(make):
    broker = make(retry=60)
    broker.enqueue_many(["leased", "released", "waiting"])
    broker.enqueue("hidden", delay=60)
    _leased, released = broker.dequeue_many(2, 0)
    broker.release(released.ack_id)
    seen = broker.collection.find({"lock": {"$lte": ago(60)}})
    assert sorted(document["payload"] for document in seen) == ["released", "waiting"]


def test_dead_letters_are_hidden_from_older_clusters(make):
    broker = make()
    broker.enqueue("unreadable")
    broker.move_to_dead_letters(broker.dequeue_many(1, 0)[0])
    assert broker.collection.count_documents({"lock": {"$lte": ago(0)}}) == 0
    assert broker.lock_size() == broker.queue_size() == 0


def test_released_packages_are_delivered_first(make):
    broker = make()
    broker.enqueue_many(["one", "two", "three"])
    found = broker.dequeue_many(2, 0)
    broker.release_many([delivery.ack_id for delivery in found])
    assert packages(broker.dequeue_many(3, 0)) == ["one", "two", "three"]


def test_explicit_bulk_is_used(make):
    broker = make(bulk=2)
    broker.enqueue_many(["package"] * 5)
    assert len(broker.dequeue_many(5, 0)) == 2


def test_too_large_package_is_rejected(make):
    with pytest.raises(PackageTooLarge):
        make().enqueue("x" * (17 * 1024 * 1024))


def test_database_is_that_of_the_settings(make, mongo_server):
    uri = f"mongodb://{mongo_server.address}"
    for mongo, mongo_db, name in [(uri, None, "django-q"), (f"{uri}/mine", None, "mine"), (uri, "other", "other")]:
        settings = ClusterSettings.from_mapping({"mongo": {"host": mongo}, "mongo_db": mongo_db})
        assert database_of(client_for(settings), settings).name == name


def test_timeouts_in_the_address_are_kept(mongo_server):
    address = f"mongodb://{mongo_server.address}/?serverSelectionTimeoutMS=123"
    client = client_for(ClusterSettings.from_mapping({"mongo": {"host": address}}))
    assert client.options.server_selection_timeout == pytest.approx(0.123)


def test_mistake_in_the_settings_is_a_configuration_error():
    settings = ClusterSettings.from_mapping({"mongo": {"hots": "x"}})
    with pytest.raises(ConfigurationError, match="mongo"):
        _ = Mongo("queue", settings=settings).connection


def test_ping_without_a_server_is_false():
    options = {"host": "127.0.0.1", "port": 1, "serverSelectionTimeoutMS": 200}
    assert Mongo("queue", settings=ClusterSettings.from_mapping({"mongo": options})).ping() is False


def test_size_is_current(make):
    broker = make()
    broker.enqueue_many(["one", "two"])
    eventually(lambda: broker.queue_size() == 2)
    broker.dequeue_many(1, 0)
    assert (broker.queue_size(), broker.lock_size()) == (1, 1)
