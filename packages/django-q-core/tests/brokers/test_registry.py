from __future__ import annotations

import threading

import pytest
from django_q.brokers import Broker, broker_class, get_broker, shared_broker
from django_q.brokers.memory import MemoryBroker
from django_q.brokers.registry import BROKERS, broker_key
from django_q.exceptions import ConfigurationError, MissingPlugin
from django_q.settings import ClusterSettings

MEMORY = "django_q.brokers.memory.MemoryBroker"


def settings_of(**keys: object) -> ClusterSettings:
    return ClusterSettings.from_mapping(keys)


@pytest.mark.parametrize(
    ("keys", "chosen"),
    [
        ({}, "redis"),
        ({"redis": "redis://localhost"}, "redis"),
        ({"django_redis": "default"}, "django_redis"),
        ({"mongo": {"host": "x"}, "redis": {"port": 1}}, "mongo"),
        ({"orm": "default", "mongo": {"host": "x"}}, "orm"),
        ({"sqs": {}, "orm": "default"}, "sqs"),
        ({"iron_mq": {"token": "x"}, "sqs": {}}, "iron_mq"),
        ({"disque_nodes": ["x:1"], "iron_mq": {"token": "x"}}, "disque_nodes"),
    ],
)
def test_key_chooses_the_broker(keys: dict, chosen: str):
    assert broker_key(settings_of(**keys)) == chosen


def test_key_of_a_third_party_plugin_chooses_it(monkeypatch: pytest.MonkeyPatch):
    monkeypatch.setattr(type(BROKERS), "names", lambda _self: frozenset({"redis", "carrier_pigeon"}))
    assert broker_key(settings_of(carrier_pigeon={"loft": 1})) == "carrier_pigeon"


def test_broker_class_precedes_all_keys():
    assert broker_class(settings_of(broker_class=MEMORY, orm="default")) is MemoryBroker


def test_broker_class_may_be_a_class():
    assert broker_class(settings_of(broker_class=MemoryBroker)) is MemoryBroker


def test_class_that_cannot_be_imported_is_a_configuration_error():
    with pytest.raises(ConfigurationError, match="nowhere"):
        broker_class(settings_of(broker_class="nowhere.Broker"))


def test_missing_plugin_has_a_hint(monkeypatch: pytest.MonkeyPatch):
    monkeypatch.setattr(BROKERS, "_found", {})
    monkeypatch.setattr(BROKERS, "_loaded", {})
    with pytest.raises(MissingPlugin, match="pip install django-q-mongo"):
        broker_class(settings_of(mongo={"host": "x"}))


def test_broker_serves_the_queue_of_the_settings():
    assert get_broker(settings=settings_of(broker_class=MEMORY, cluster_name="slow")).list_key == "slow"


def test_broker_serves_another_queue():
    assert get_broker("fast", settings=settings_of(broker_class=MEMORY)).list_key == "fast"


def test_broker_with_only_list_key_gets_the_settings():
    class Old(Broker):
        def __init__(self, list_key):
            super().__init__(list_key)

    settings = settings_of(broker_class=Old, retry=5)
    assert get_broker(settings=settings).settings is settings


def test_process_shares_one_broker():
    settings = settings_of(broker_class=MEMORY)
    found: list[Broker] = [shared_broker(settings)]
    thread = threading.Thread(target=lambda: found.append(shared_broker(settings)))
    thread.start()
    thread.join()
    assert found[0] is found[1]


def test_other_queues_and_other_settings_have_other_brokers():
    settings = settings_of(broker_class=MEMORY)
    brokers = {
        id(shared_broker(settings)),
        id(shared_broker(settings, "fast")),
        id(shared_broker(settings_of(broker_class=MEMORY, retry=5))),
    }
    assert len(brokers) == 3


@pytest.mark.parametrize("name", ["mail-dead", "mail-Dead", "mail-dead.fifo"])
def test_dead_letter_queue_is_no_cluster(name: str):
    with pytest.raises(ConfigurationError, match="does not end in -dead"):
        get_broker(name, settings=settings_of(broker_class=MEMORY))


def test_dead_letter_queue_can_be_read():
    broker = get_broker("mail", settings=settings_of(broker_class=MEMORY))
    assert broker.dead_letters().list_key == broker.dead_key
