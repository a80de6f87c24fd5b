"""The admin's pages of queues with each product: packages of each state, dead letters, and a server that is down."""

from __future__ import annotations

from datetime import timedelta

import pytest
from django.urls import reverse
from django.utils import timezone
from django_q.brokers import get_broker
from django_q.brokers.packages import id_of
from django_q.models import Command
from django_q.settings import current_settings
from django_q.testing import eventually
from django_q.wire.codec import PackageCodec
from django_q.wire.package import new_package

from .products import settings_of

pytestmark = [pytest.mark.django_db(transaction=True), pytest.mark.variant]

LISTING = ("mongo", "redis", "redis_cluster", "sqlite")
COUNTING = ("disque", "ironmq", "moto")
PACKAGES = "admin:django_q_queue_packages"
CLUSTERS = "admin:django_q_cluster_changelist"
HOSTILE = ("unsigned", "x" * 2_000_000, "<script>alert(1)</script>", "\x1b[31m\u202e")


@pytest.fixture
def use(request, settings):
    """Return a function that makes a product the broker, and returns its server and an empty queue."""
    made = []

    def chosen(product: str):
        options, server = settings_of(request, product)
        settings.Q_CLUSTER = {"name": "test", "retry": 60, "timeout": 30} | options
        broker = get_broker()
        broker.delete_queue()
        made.append(broker)
        return server, broker

    yield chosen
    for broker in made:
        broker.delete_queue()
        broker.disconnect()


def signed(name: str) -> str:
    """Return a signed package."""
    return PackageCodec.of(current_settings()).dumps(new_package("shop.ship", (1,)) | {"name": name})


def page(client, state: str) -> str:
    """Return the list of packages of a state."""
    return client.get(reverse(PACKAGES), {"queue": "test", "state": state}).content.decode()


@pytest.mark.parametrize("product", LISTING)
def test_packages_of_each_state_are_listed(admin_client, use, product: str) -> None:
    _server, broker = use(product)
    for package in (signed("dead-task"), signed("leased-task")):
        broker.enqueue(package)
        [delivery] = broker.dequeue_many(1, 5)
        if delivery.attempt == 1 and not broker.dead_size():
            broker.fail(delivery.ack_id)
    broker.enqueue(signed("waiting-task"))
    broker.enqueue(signed("delayed-task"), delay=3_600)
    states = ("waiting", "delayed", "leased", "dead")
    for state in states:
        assert {name for name in states if f"{name}-task" in page(admin_client, state)} == {state}


@pytest.mark.parametrize("product", LISTING)
def test_hostile_dead_letters_are_requeued_and_deleted(admin_client, use, product: str) -> None:
    _server, broker = use(product)
    for package in HOSTILE:
        broker.enqueue(package)
        [delivery] = broker.dequeue_many(1, 5)
        broker.fail(delivery.ack_id)
    assert page(admin_client, "dead").count("foreign signature") == len(HOSTILE)
    url = f"{reverse(PACKAGES)}?queue=test&state=dead"
    admin_client.post(url, {"_requeue": "", "id": [id_of(package) for package in HOSTILE[:2]]})
    admin_client.post(url, {"_delete": "", "id": [id_of(HOSTILE[2])]})
    assert broker.list_dead(9) == [HOSTILE[3]]
    eventually(lambda: broker.queue_size() == 2, within=5)


@pytest.mark.parametrize("product", COUNTING)
def test_packages_of_other_products_are_counted(admin_client, use, product: str) -> None:
    _server, broker = use(product)
    broker.enqueue("package")

    def text() -> str:
        return admin_client.get(reverse("admin:django_q_queue_changelist")).content.decode()

    eventually(lambda: "<td>1</td>" in text(), within=20)
    assert "cannot list them" in text()
    assert admin_client.get(reverse(PACKAGES), {"queue": "test"}).status_code == 404


@pytest.mark.parametrize("product", ["mongo", "redis"])
def test_server_that_is_down_becomes_a_message(admin_client, use, product: str) -> None:
    server, broker = use(product)
    server.stop()
    try:
        for name in ("queue", "cluster"):
            response = admin_client.get(reverse(f"admin:django_q_{name}_changelist"))
            assert response.status_code == 200
            assert '<p class="errornote">' in response.content.decode()
        response = admin_client.get(reverse(PACKAGES), {"queue": "test", "state": "dead"}, follow=True)
        assert "The page cannot be shown now" in response.content.decode()
        response = admin_client.post(f"{reverse('admin:django_q_cluster_stop')}?id=a-cluster", follow=True)
        assert response.status_code == 200
        # The statistics are kept by Redis, but not by MongoDB.
        expected = {"redis": "The cluster cannot be stopped now", "mongo": "The cluster does not run any more"}
        assert expected[product] in response.content.decode()
        assert not Command.objects.exists()
    finally:
        server.start()
    eventually(broker.ping, within=20)


@pytest.mark.parametrize("product", LISTING)
def test_cluster_page_has_the_age_and_priority_of_a_queue(admin_client, use, product: str) -> None:
    _server, broker = use(product)
    started = timezone.now() - timedelta(seconds=3_725)
    package = new_package("shop.ship") | {"started": started, "priority": 7}
    broker.enqueue(PackageCodec.of(current_settings()).dumps(package), priority=7)

    def cells() -> list[str]:
        page = admin_client.get(reverse(CLUSTERS)).content.decode()
        row = page.partition('aria-label="Queues"')[2].partition("<tbody>")[2].partition("</tr>")[0]
        return [cell.partition("</td>")[0] for cell in row.split("<td>")[1:]]

    eventually(lambda: cells()[4] == "7", within=5)
    assert cells()[3].startswith("1:02:")


@pytest.mark.parametrize("product", COUNTING)
def test_cluster_page_explains_a_broker_that_only_counts(admin_client, use, product: str) -> None:
    use(product)
    page = admin_client.get(reverse(CLUSTERS)).content.decode()
    assert "their age and priority are unknown" in page
