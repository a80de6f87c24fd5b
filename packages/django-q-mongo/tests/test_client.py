"""The brokers of a process share a client."""

from __future__ import annotations

import json
import os
import subprocess
import sys
import threading
import uuid

import pytest
from django_q.settings import ClusterSettings
from django_q_mongo import Mongo
from django_q_mongo import client as module


@pytest.fixture
def settings(mongo_server, monkeypatch) -> ClusterSettings:
    monkeypatch.setattr(module, "_clients", module.ProcessLocal(dict))  # other tests may have used get_connection
    mongo_server.start()
    return ClusterSettings.from_mapping({"mongo": mongo_server.options})


@pytest.fixture
def name() -> str:
    return f"client-{uuid.uuid4().hex[:12]}"


def is_closed(client) -> bool:
    return client._closed


def test_disconnect_of_one_broker_keeps_the_client_of_others(settings, name):
    one, other = Mongo(name, settings=settings), Mongo(name, settings=settings)
    one.enqueue("package")
    other.queue_size()
    client = one.connection
    one.disconnect()
    assert (other.connection, is_closed(client)) == (client, False)
    assert other.dequeue_many(1, 0)[0].package == "package"
    other.delete_queue()
    other.disconnect()
    assert is_closed(client)
    assert one.queue_size() == 0


def test_disconnect_does_not_interrupt_a_fetch_of_a_thread(settings, name):
    waiting, other = Mongo(name, settings=settings), Mongo(name, settings=settings)
    waiting.queue_size()
    found: list[str] = []
    fetch = threading.Thread(target=lambda: found.extend(each.package for each in waiting.dequeue_many(1, 20)))
    fetch.start()
    for _ in range(5):
        other.queue_size()
        other.disconnect()
    other.enqueue("package")
    fetch.join()
    assert found == ["package"]
    waiting.delete_queue()


def test_client_of_get_connection_is_not_closed(settings, name, monkeypatch):
    monkeypatch.setattr("django_q_mongo.broker.current_settings", lambda: settings)
    broker = Mongo(name, settings=settings)
    broker.queue_size()
    client = Mongo.get_connection()
    broker.disconnect()
    assert client.admin.command("ping")["ok"] == 1


DELETED = """
import gc, json, sys, weakref
import django
from django_q.settings import ClusterSettings
from django_q_mongo import Mongo

django.setup()
options, name = json.loads(sys.argv[1])
settings = ClusterSettings.from_mapping({"mongo": options})
deleted = Mongo(name, settings=settings)
deleted.queue_size()
reference = weakref.ref(deleted)
del deleted
gc.collect()  # a broker is part of a cycle
assert reference() is None
broker = Mongo(name, settings=settings)
client = broker.connection
broker.disconnect()
assert client._closed
"""
"""Program with one thread that collects garbage: a collection is skipped while another thread's goes on."""


def test_deleted_broker_does_not_keep_the_client_open(mongo_server, name):
    mongo_server.start()
    arguments = [sys.executable, "-c", DELETED, json.dumps([mongo_server.options, name])]
    environment = {**os.environ, "DJANGO_SETTINGS_MODULE": "tests.settings"}
    subprocess.run(arguments, env=environment, check=True, timeout=60)
