"""The admin's pages of queues and packages, for any broker."""

from __future__ import annotations

import os
from typing import NamedTuple
from urllib.parse import urlencode

import pytest
from django.contrib.admin.models import LogEntry
from django.contrib.auth.models import Permission, User
from django.test import Client
from django.urls import reverse
from django_q.admin.queues import MAX_LISTED_PACKAGES, PAGE_PACKAGES
from django_q.brokers import get_broker
from django_q.brokers.memory import MemoryBroker
from django_q.brokers.packages import id_of
from django_q.exceptions import BrokerUnavailable
from django_q.settings import current_settings
from django_q.wire.codec import PackageCodec
from django_q.wire.package import new_package

pytestmark = pytest.mark.django_db
QUEUES = "admin:django_q_queue_changelist"
STATES = ("waiting", "delayed", "leased", "dead")


class Exits:
    """Argument that ends the process when it is unpickled."""

    def __reduce__(self):
        return os._exit, (1,)


class Order:
    """Object of the project."""


class Places(NamedTuple):
    """One package of each state."""

    waiting: str
    delayed: str
    leased: str
    dead: str


class CountsOnly(MemoryBroker):
    """Broker that cannot list packages."""

    supports_listing = False


@pytest.fixture(autouse=True)
def broker():
    """Broker with an empty queue."""
    broker = get_broker()
    broker.delete_queue()
    yield broker
    broker.delete_queue()


@pytest.fixture
def packages(broker) -> Places:
    """Packages in each state."""
    made = Places(*(signed(name=f"{state}-task", group="a group") for state in STATES))
    for package in (made.dead, made.leased):
        broker.enqueue(package)
        [delivery] = broker.dequeue_many(1, 0)
        if package is made.dead:
            broker.move_to_dead_letters(delivery)
    broker.enqueue(made.waiting)
    broker.enqueue(made.delayed, delay=3_600)
    return made


def signed(*args: object, name: str = "four-words", **kwargs: object) -> str:
    """Return a signed package."""
    package = new_package("shop.tasks.ship", args, group=kwargs.pop("group", None)) | {"name": name}
    return PackageCodec.of(current_settings()).dumps(package | {"kwargs": kwargs})


def add_dead(broker, *packages: str) -> None:
    """Move packages to the dead letters."""
    for package in packages:
        broker.enqueue(package, priority=100)  # it is fetched before others
        [delivery] = get_broker().dequeue_many(1, 0)
        broker.move_to_dead_letters(delivery)


def address(view: str, **query: object) -> str:
    """Return the address of a page."""
    return f"{reverse(f'admin:django_q_queue_{view}')}?{urlencode({'queue': 'test'} | query)}"


def page(client, view: str = "packages", **query: object) -> str:
    """Return the text of a page that opens."""
    response = client.get(address(view, **query))
    assert response.status_code == 200
    return response.content.decode()


def staff(client, *codenames: str):
    """Log in a user with some permissions."""
    user = User.objects.create_user("staff", is_staff=True)
    user.user_permissions.add(*Permission.objects.filter(codename__in=codenames))
    client.force_login(user)
    return client


def press(client, button: str, *packages: str, state: str = "dead"):
    """Press a button for packages of a list."""
    return client.post(address("packages", state=state), {button: "", "id": [*map(id_of, packages)]}, follow=True)


# lists


def test_queues_are_counted_and_linked(client, packages: Places) -> None:
    text = staff(client, "view_queue").get(reverse(QUEUES)).content.decode()
    for count in ("1 waiting", "1 leased", "1 dead", "delayed"):
        assert f">{count}</a>" in text
    assert address("packages", state="dead").replace("&", "&amp;") in text


@pytest.mark.parametrize("state", STATES)
def test_packages_of_each_state_are_listed(admin_client, packages: Places, state: str) -> None:
    text = page(admin_client, state=state)
    text = text.replace("<wbr>", "")
    names = {other for other in STATES if f"{other}-task" in text}
    assert names == {state}
    assert id_of(getattr(packages, state)) in text
    assert "shop.tasks.ship" in text
    assert ("0:59:5" in text) is (state == "delayed")


@pytest.mark.parametrize("state", STATES)
def test_page_of_a_package_shows_its_call(admin_client, packages: Places, state: str) -> None:
    text = page(admin_client, "package", state=state, id=id_of(getattr(packages, state)))
    assert f"{state}-task" in text.replace("<wbr>", "")
    assert "a group" in text


def test_unreadable_package_has_its_reason_in_a_column(admin_client, broker) -> None:
    task = PackageCodec.of(current_settings()).dumps(["no task"])
    add_dead(broker, "unsigned", signed()[:-1] + "x", task)
    text = page(admin_client, state="dead")
    assert text.count("Package with a foreign signature") == 2
    assert text.count("A signed package without a task") == 1
    assert "foreign signature" in page(admin_client, "package", state="dead", id=id_of("unsigned"))


HOSTILE = {
    "2 MB": "x" * 2_000_000,
    "nul": "a\0b",
    "surrogate": "caf\udce9",
    "markup": "<script>alert(1)</script>",
    "control": "\x1b[31m\u202e\n",
    "empty": "",
    "colons": ":" * 1_000,
}


@pytest.mark.parametrize("state", STATES)
@pytest.mark.parametrize("kind", HOSTILE)
def test_hostile_packages_are_shown(admin_client, broker, kind: str, state: str) -> None:
    unsigned, inside = HOSTILE[kind], signed(HOSTILE[kind], name=HOSTILE[kind][:100] or "n", x=HOSTILE[kind])
    delay = 3_600 if state == "delayed" else 0
    for package in (unsigned, inside):
        broker.enqueue(package, delay=delay)
    held = broker.dequeue_many(2, 0) if state in ("leased", "dead") else []
    for delivery in held if state == "dead" else ():
        broker.move_to_dead_letters(delivery)
    texts = [page(admin_client, state=state)]
    texts += [page(admin_client, "package", state=state, id=id_of(package)) for package in (unsigned, inside)]
    for text in texts:
        assert len(text) < 50_000
        assert "<script>alert" not in text
        text.encode()


def test_nothing_of_the_project_is_unpickled(admin_client, broker) -> None:
    package = signed(Exits(), Order(), [Order], x=Exits())
    add_dead(broker, package)
    page(admin_client, state="dead")
    text = page(admin_client, "package", state="dead", id=id_of(package))
    assert f"{Order.__module__}.Order" in text
    assert "posix._exit(…)" in text


def test_deeply_nested_pickle_is_shown_as_unreadable(admin_client, broker) -> None:
    deep = b"\x80\x04" + b"]" * 100_000 + b"a" * 99_999 + b"."
    add_dead(broker, PackageCodec.of(current_settings()).sign(deep))
    assert "without a task" in page(admin_client, state="dead")


def test_pages_are_bounded(admin_client, broker) -> None:
    broker.enqueue_many([signed(number) for number in range(MAX_LISTED_PACKAGES + 5)])
    first = page(admin_client, state="waiting")
    assert first.count("four-words") == PAGE_PACKAGES
    assert "Next page" in first
    assert "Previous page" not in first
    last = page(admin_client, state="waiting", p=10**9 - 1)
    assert f"Page {MAX_LISTED_PACKAGES // PAGE_PACKAGES}" in last
    assert f"These pages contain the first {MAX_LISTED_PACKAGES} packages." in last
    assert "Next page" not in last


@pytest.mark.parametrize("number", ["x", "-1", "0", "²", "9" * 5_000])
def test_wrong_page_number_shows_the_first_page(admin_client, packages: Places, number: str) -> None:
    assert "Page 1" not in page(admin_client, state="waiting", p=number)
    assert "waiting-task" in page(admin_client, state="waiting", p=number)


def test_package_that_moved_in_the_list_is_found(admin_client, broker) -> None:
    sent = [signed(number) for number in range(PAGE_PACKAGES + 3)]
    broker.enqueue_many(sent)
    text = page(admin_client, "package", state="waiting", id=id_of(sent[-1]), n=1)
    assert f"({PAGE_PACKAGES + 2},)" in text


def test_package_that_was_delivered_is_a_message(admin_client, packages: Places) -> None:
    response = admin_client.get(address("package", state="waiting", id=id_of(packages.leased)), follow=True)
    assert "not there any more" in response.content.decode()


@pytest.mark.parametrize("query", [{"queue": "unknown"}, {"state": "lost"}, {"queue": "test-dead"}, {"queue": ""}])
def test_unknown_queue_or_state_is_not_found(admin_client, query: dict[str, str]) -> None:
    for view in ("packages", "package"):
        assert admin_client.get(address(view, **query)).status_code == 404


def test_broker_that_cannot_list_shows_counts(admin_client, settings, broker) -> None:
    settings.Q_CLUSTER = settings.Q_CLUSTER | {"broker_class": CountsOnly}
    broker.enqueue("package")
    text = admin_client.get(reverse(QUEUES)).content.decode()
    assert "<td>1</td>" in text
    assert "cannot list them" in text
    assert admin_client.get(address("packages")).status_code == 404


# dead letters


def test_dead_letters_are_requeued(client, broker, packages: Places) -> None:
    client = staff(client, "view_queue", "requeue_dead_letter")
    add_dead(broker, "unreadable", "stays")
    text = press(client, "_requeue", "unreadable", packages.dead).content.decode()
    assert "2 dead letters are queued again." in text
    assert broker.list_dead(9) == ["stays"]
    assert broker.queue_size() == 3
    assert [entry.change_message for entry in LogEntry.objects.all()] == ["Requeued.", "Requeued."]


def test_dead_letters_are_deleted(client, broker, packages: Places) -> None:
    client = staff(client, "view_queue", "delete_dead_letter")
    add_dead(broker, "unreadable")
    assert "1 dead letter is deleted." in press(client, "_delete", packages.dead).content.decode()
    assert broker.list_dead(9) == ["unreadable"]
    assert LogEntry.objects.get().object_id == id_of(packages.dead)
    assert LogEntry.objects.get().change_message == "Deleted."


def test_dead_letter_is_requeued_on_its_page(admin_client, broker, packages: Places) -> None:
    response = admin_client.post(address("package", state="dead", id=id_of(packages.dead)), {"_requeue": ""})
    assert response.url == address("packages", state="dead")
    assert (broker.dead_size(), broker.queue_size()) == (0, 2)


def test_dead_letter_that_is_gone_is_counted_as_none(admin_client, broker) -> None:
    assert "0 dead letters are queued again." in press(admin_client, "_requeue", "gone").content.decode()
    assert broker.queue_size() == LogEntry.objects.count() == 0


@pytest.mark.parametrize("kind", HOSTILE)
def test_hostile_dead_letters_are_requeued_and_deleted(admin_client, broker, kind: str) -> None:
    for button, waiting in (("_requeue", 1), ("_delete", 0)):
        add_dead(broker, HOSTILE[kind])
        press(admin_client, button, HOSTILE[kind])
        assert (broker.dead_size(), broker.queue_size()) == (0, waiting)
        broker.delete_queue()


@pytest.mark.parametrize("state", ["waiting", "delayed", "leased"])
def test_other_packages_are_never_changed(admin_client, broker, packages: Places, state: str) -> None:
    package = getattr(packages, state)
    for button in ("_requeue", "_delete"):
        assert press(admin_client, button, package, state=state).status_code == 403
        url = address("package", state=state, id=id_of(package))
        assert admin_client.post(url, {button: ""}).status_code == 403
    assert f'name="{button}"' not in page(admin_client, state=state)
    assert (broker.queue_size(), broker.lock_size(), broker.dead_size()) == (1, 1, 1)


@pytest.mark.parametrize("codenames", [("view_queue",), ("view_queue", "change_record", "delete_record")])
def test_user_with_view_permission_changes_nothing(client, broker, packages: Places, codenames) -> None:
    client = staff(client, *codenames)
    for button in ("_requeue", "_delete"):
        assert press(client, button, packages.dead).status_code == 403
    for text in (page(client, state="dead"), page(client, "package", state="dead", id=id_of(packages.dead))):
        assert "_requeue" not in text
        assert "_delete" not in text
    assert broker.dead_size() == 1


def test_user_with_one_permission_has_one_button(client, packages: Places) -> None:
    client = staff(client, "view_queue", "requeue_dead_letter")
    text = page(client, state="dead")
    assert ("_requeue" in text, "_delete" in text) == (True, False)
    assert press(client, "_delete", packages.dead).status_code == 403


@pytest.mark.parametrize("codenames", [(), ("requeue_dead_letter", "delete_dead_letter")])
def test_user_without_view_permission_is_refused(client, broker, packages: Places, codenames) -> None:
    client = staff(client, *codenames)
    for url in (reverse(QUEUES), address("packages"), address("package")):
        assert client.get(url).status_code == 403
    assert press(client, "_requeue", packages.dead).status_code == 403
    assert broker.dead_size() == 1


def test_forged_request_is_refused(broker, packages: Places, django_user_model) -> None:
    client = Client(enforce_csrf_checks=True)
    client.force_login(django_user_model.objects.create_superuser("root"))
    assert press(client, "_delete", packages.dead).status_code == 403
    assert broker.dead_size() == 1


# a broker that is down


@pytest.fixture
def down(monkeypatch) -> None:
    """Broker whose server does not answer."""

    def refuse(self, *args: object) -> None:
        raise BrokerUnavailable("The server does not answer.")

    for name in ("list_packages", "queue_size", "dead_size", "delete_dead"):
        monkeypatch.setattr(MemoryBroker, name, refuse)


def test_unavailable_broker_is_a_message(admin_client, down: None) -> None:
    text = admin_client.get(reverse(QUEUES)).content.decode()
    assert '<p class="errornote">The server does not answer.</p>' in text
    for view in ("packages", "package"):
        response = admin_client.get(address(view))
        assert response.url == reverse("admin:index")
        assert "The server does not answer." in admin_client.get(response.url).content.decode()


def test_broker_that_fails_during_an_action_is_a_message(admin_client, broker, monkeypatch) -> None:
    add_dead(broker, "one", "two")
    delete = MemoryBroker.delete_dead
    calls = []

    def fails_later(self, package: str) -> bool:
        calls.append(package)
        if len(calls) > 1:
            raise BrokerUnavailable("The server does not answer.")
        return delete(self, package)

    monkeypatch.setattr(MemoryBroker, "delete_dead", fails_later)
    text = press(admin_client, "_delete", "one", "two").content.decode()
    assert "1 dead letter is deleted." in text
    assert "The dead letters cannot be changed now: The server does not answer." in text
    assert LogEntry.objects.count() == broker.dead_size() == 1


@pytest.mark.parametrize("button", ["_requeue", "_delete"])
def test_dead_letter_stays_if_the_log_is_unavailable(admin_client, broker, button: str, unavailable) -> None:
    add_dead(broker, "one")

    with unavailable("django_admin_log", statement="INSERT"):
        response = press(admin_client, button, "one")
    assert "The dead letters cannot be changed now: server closed the connection" in response.content.decode()
    assert (broker.dead_size(), broker.queue_size()) == (1, 0)


@pytest.mark.parametrize("button", ["_requeue", "_delete"])
def test_dead_letter_that_is_gone_meanwhile_has_no_entry(admin_client, broker, monkeypatch, button: str) -> None:
    add_dead(broker, "one")
    monkeypatch.setattr(MemoryBroker, "delete_dead", lambda self, package: False)
    press(admin_client, button, "one")
    assert not LogEntry.objects.exists()
