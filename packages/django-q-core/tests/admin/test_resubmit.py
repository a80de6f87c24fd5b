"""Resubmitting repeats the original call, for those who may, and changes nothing if it fails."""

from __future__ import annotations

import sys

import pytest
from django.contrib.admin.models import CHANGE, LogEntry
from django.contrib.auth.models import Permission, User
from django.db.models.signals import pre_delete
from django.urls import reverse
from django.utils import timezone
from django_q.brokers import get_broker
from django_q.brokers.memory import MemoryBroker
from django_q.exceptions import BrokerUnavailable, PackageTooLarge
from django_q.models import Failure, Success, Task
from django_q.models.fields import Encoded
from django_q.settings import current_settings
from django_q.tasks import async_iter, async_task
from django_q.tasks.resubmitting import NotRepeatable
from django_q.tasks.resubmitting import resubmit_task as resubmit
from django_q.wire.codec import PackageCodec

pytestmark = pytest.mark.django_db

OPTION_NAMES = (
    *("hook", "group", "save", "sync", "cached", "ack_failure", "iter_count", "iter_cached", "chain", "broker"),
    *("timeout", "cluster", "task_name", "delay", "eta", "on_commit", "q_options", "func", "args_iter", "options"),
    *("args", "kwargs", "self", "task", "priority"),
)


def save(letter: str, **columns: object) -> Task:
    now = timezone.now()
    columns = {"name": f"name-{letter}", "func": "math.floor", "started": now, "stopped": now} | columns
    return Task.objects.create(id=letter * 32, **columns)


@pytest.fixture(autouse=True)
def broker():
    """Broker with an empty queue."""
    broker = get_broker()
    broker.delete_queue()
    yield broker
    broker.delete_queue()


def queued(broker) -> list[dict]:
    """Fetch all packages of the queue."""
    deliveries = broker.dequeue_many(100, 0)
    broker.acknowledge_many([delivery.ack_id for delivery in deliveries])
    return [PackageCodec.of(current_settings()).loads(delivery.package) for delivery in deliveries]


def choose(client, model: str, *tasks: Task) -> str:
    """Run the action for tasks; return the messages of the page."""
    url = reverse(f"admin:django_q_{model}_changelist")
    data = {"action": "resubmit_task", "_selected_action": [task.pk for task in tasks]}
    response = client.post(url, data, follow=True)
    assert response.status_code == 200
    return response.content.decode()


# the call


def test_call_is_repeated_with_the_options_in_the_row(broker) -> None:
    new_id = resubmit(save("a", args=(1.5, "é"), kwargs={"x": 2}, hook="m.h", group="g", cluster="test"))
    [package] = queued(broker)
    assert (package["id"], package["func"], package["args"]) == (new_id, "math.floor", (1.5, "é"))
    assert (package["kwargs"], package["hook"], package["group"]) == ({"x": 2}, "m.h", "g")


@pytest.mark.parametrize("name", OPTION_NAMES)
def test_keyword_with_name_of_an_option_belongs_to_function(broker, name) -> None:
    resubmit(save("a", kwargs={name: "mine", "other": 1}))
    [package] = queued(broker)
    assert package["kwargs"] == {name: "mine", "other": 1}
    assert package.get(name, "nothing") != "mine"


@pytest.mark.parametrize("name", [name for name in OPTION_NAMES if name != "args_iter"])
def test_keyword_of_an_iter_belongs_to_the_function(broker, name) -> None:
    resubmit(save("a", args=[(1,), (2,)], kwargs={name: "mine"}, result=[1, 2]))
    assert [package["kwargs"] for package in queued(broker)] == [{name: "mine"}] * 2


def test_iter_is_resubmitted_as_an_iter(broker) -> None:
    iter_id = async_iter("math.copysign", [(4, -1), (5, "x")], sync=True)
    row = Failure.objects.get(pk=iter_id)
    new_id = resubmit(row)
    packages = queued(broker)
    assert [(package["func"], package["args"]) for package in packages] == [
        ("math.copysign", (4, -1)),
        ("math.copysign", (5, "x")),
    ]
    assert {package["iter_count"] for package in packages} == {2}
    assert {package["group"] for package in packages} == {new_id}


def test_iter_is_resubmitted_with_its_callback(broker) -> None:
    iter_id = async_iter("math.floor", [1.5], sync=True, q_options={"callback": "math.isqrt"})
    resubmit(Task.objects.get(pk=iter_id))
    [package] = queued(broker)
    assert package["iter_options"] == {"callback": "math.isqrt"}


@pytest.mark.parametrize("args", [[(1,)], [(1,), "This value cannot be read: …"]])
def test_iter_with_missing_arguments_is_not_resubmitted(broker, args) -> None:
    row = Task.objects.get(pk=async_iter("math.floor", [1.5, 2.5], sync=True))
    row.args = args
    with pytest.raises(NotRepeatable, match="not all arguments"):
        resubmit(row)
    assert broker.queue_size() == 0


def test_task_with_a_list_as_its_only_argument_is_no_iter(broker) -> None:
    row = Task.objects.get(pk=async_task("math.fsum", [1, 2], sync=True))
    resubmit(row)
    assert [package["args"] for package in queued(broker)] == [([1, 2],)]


# permissions


def user_with(client, *codenames: str):
    """Log in a user with some permissions."""
    user = User.objects.create_user("staff", is_staff=True)
    user.user_permissions.add(*Permission.objects.filter(codename__in=codenames))
    client.force_login(user)
    return client


def test_user_with_view_permission_cannot_resubmit(client, broker) -> None:
    task = save("a", success=False)
    page = choose(user_with(client, "view_failure", "delete_failure"), "failure", task)
    assert "resubmit_task" not in page
    assert (broker.queue_size(), Failure.objects.count(), LogEntry.objects.count()) == (0, 1, 0)


def test_user_with_change_permission_resubmits_and_row_stays(client, broker) -> None:
    choose(user_with(client, "view_failure", "change_failure"), "failure", save("a", success=False))
    assert (broker.queue_size(), Failure.objects.count()) == (1, 1)


def test_user_with_delete_permission_removes_the_failure(client, broker) -> None:
    task = save("a", success=False)
    page = choose(user_with(client, "view_failure", "change_failure", "delete_failure"), "failure", task)
    assert (broker.queue_size(), Failure.objects.count()) == (1, 0)
    assert "1 task was resubmitted." in page


def test_success_stays(admin_client, broker) -> None:
    choose(admin_client, "success", save("a", args=(1.5,)))
    assert (broker.queue_size(), Success.objects.count()) == (1, 1)


@pytest.mark.parametrize(("success", "model"), [(True, "success"), (False, "failure")])
def test_log_entry_is_written(admin_client, admin_user, broker, success, model) -> None:
    choose(admin_client, model, save("a", success=success))
    [package] = queued(broker)
    entry = LogEntry.objects.get()
    assert (entry.user, entry.action_flag, entry.object_id) == (admin_user, CHANGE, "a" * 32)
    assert package["id"] in entry.change_message
    assert ("deleted" in entry.change_message) is not success


# failures


def test_unavailable_broker_changes_nothing(admin_client, monkeypatch) -> None:
    def away(self, package, **options):
        raise BrokerUnavailable("connection refused \udce9")

    monkeypatch.setattr(MemoryBroker, "enqueue", away)
    page = choose(admin_client, "failure", save("a", success=False), save("b", success=False))
    assert (Failure.objects.count(), LogEntry.objects.count()) == (2, 0)
    assert page.count("The broker is unavailable") == 1
    assert "connection refused" in page
    assert "resubmitted." not in page


def test_rows_that_were_not_queued_stay_in_an_outage(admin_client, broker, monkeypatch) -> None:
    enqueue = MemoryBroker.enqueue

    def away_soon(self, package, **options):
        if self.queue_size():
            raise BrokerUnavailable("gone")
        return enqueue(self, package, **options)

    monkeypatch.setattr(MemoryBroker, "enqueue", away_soon)
    page = choose(admin_client, "failure", *(save(letter, success=False) for letter in "abc"))
    assert (broker.queue_size(), Failure.objects.count(), LogEntry.objects.count()) == (1, 2, 1)
    assert "1 task was resubmitted." in page


@pytest.mark.parametrize(
    "columns",
    [
        {"func": "no_such_module.f"},
        {"func": "resubmitted_module.f"},
        {"args": Encoded("bm90IGEgcGlja2xl")},
        {"args": 5},
        {"kwargs": [1]},
        {"kwargs": {1: 2}},
        {"args": [], "result": [1, 2]},
        {"name": "50% of %s %(x)d \N{SNOWMAN}", "func": "no_such_module.f"},
    ],
)
def test_row_without_arguments_stays_and_others_are_resubmitted(
    admin_client, broker, monkeypatch, tmp_path, columns
) -> None:
    (tmp_path / "resubmitted_module.py").write_text("raise SystemExit('caf\\udce9')")
    monkeypatch.syspath_prepend(tmp_path)
    bad, good = save("a", **columns | {"success": False}), save("b", success=False)
    page = choose(admin_client, "failure", bad, good)
    sys.modules.pop("resubmitted_module", None)
    assert [package["func"] for package in queued(broker)] == ["math.floor"]
    assert list(Task.objects.values_list("pk", flat=True)) == [bad.pk]
    assert "was not resubmitted" in page
    assert "1 task was resubmitted." in page


def test_rejected_package_is_not_resubmitted(admin_client, monkeypatch) -> None:
    def refuse(self, package, *, delay=0):
        raise PackageTooLarge("x" * 1_000_000)

    monkeypatch.setattr(MemoryBroker, "enqueue", refuse)
    page = choose(admin_client, "failure", save("a", success=False))
    assert Failure.objects.count() == 1
    assert "was not resubmitted" in page
    assert len(page) < 100_000


def test_protected_row_stays_and_is_logged(admin_client, broker) -> None:
    def protect(**more) -> None:
        raise ValueError("a report needs it")

    pre_delete.connect(protect)
    try:
        page = choose(admin_client, "failure", save("a", success=False))
    finally:
        pre_delete.disconnect(protect)
    assert (broker.queue_size(), Failure.objects.count()) == (1, 1)
    assert "a report needs it" in page
    assert "deleted" not in LogEntry.objects.get().change_message
