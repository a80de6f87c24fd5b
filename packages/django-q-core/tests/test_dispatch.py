"""Sending of tasks and of links, without a process."""

from __future__ import annotations

import pytest
from django_q.brokers.memory import MemoryBroker
from django_q.dispatch import send_links, send_many
from django_q.exceptions import PackageTooLarge
from django_q.settings import ClusterSettings
from django_q.wire.codec import PackageCodec
from django_q.wire.package import new_package

SETTINGS = ClusterSettings(name="dispatch", broker_class="django_q.brokers.memory.MemoryBroker")


class FullBroker(MemoryBroker):
    """Its server is full, and accepts only links of chains."""

    def enqueue(self, package, *, delay=0):
        raise PackageTooLarge

    def enqueue_many(self, packages):
        raise PackageTooLarge

    def enqueue_links(self, packages):
        return super().enqueue_many(packages)


def queue(kind, request):
    broker = kind(list_key=request.node.name, settings=SETTINGS)
    request.addfinalizer(broker.delete_queue)
    return broker


def test_packages_are_signed_and_queued_in_order(request):
    broker = queue(MemoryBroker, request)
    send_many([new_package("math.ceil", (n,)) for n in range(3)], broker=broker, settings=SETTINGS)
    codec = PackageCodec.of(SETTINGS)
    assert [codec.loads(each.package)["args"] for each in broker.dequeue_many(3, 0)] == [(0,), (1,), (2,)]


def test_full_server_accepts_links(request):
    broker = queue(FullBroker, request)
    with pytest.raises(PackageTooLarge):
        send_many([new_package("math.ceil", (1.5,))], broker=broker, settings=SETTINGS)
    send_links(["second", "third"], broker=broker)
    assert [each.package for each in broker.dequeue_many(3, 0)] == ["second", "third"]
