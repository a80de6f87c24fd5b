"""The admin's page of running clusters."""

from __future__ import annotations

from datetime import timedelta

import pytest
from django.contrib.admin.models import LogEntry
from django.contrib.auth.models import Permission, User
from django.contrib.messages import get_messages
from django.db import connection
from django.test import Client
from django.test.utils import CaptureQueriesContext
from django.urls import reverse
from django.utils import timezone
from django_q.admin import queue_rows, stop_page
from django_q.brokers import get_broker
from django_q.exceptions import BrokerUnavailable
from django_q.models import Command, Record, Status
from django_q.records import attempts
from django_q.settings import current_settings
from django_q.status import Stat
from django_q.terminal import snapshot
from django_q.testing import eventually
from django_q.wire.codec import PackageCodec
from django_q.wire.package import new_package

pytestmark = pytest.mark.django_db
PAGE = "admin:django_q_cluster_changelist"
STOP = "admin:django_q_cluster_stop"


@pytest.fixture(autouse=True)
def _nothing_of_other_tests():
    get_broker().delete_queue()
    for stat in Stat.get_all():
        get_broker().set_stat(stat.key, "", 0.001)
    yield
    get_broker().delete_queue()


@pytest.fixture
def stat():
    """Published snapshot of a cluster."""
    values = {"host": "<b>apples</b>", "status": "Working", "sentinel": 4001, "pusher": 4002, "monitor": 4003}
    counts = {"workers": [4004, 4005], "task_q_size": 17, "done_q_size": 19, "reincarnations": 23, "queue": "test"}
    stat = Stat(4000, "a-cluster", version="7.8.9", tob=timezone.now() - timedelta(seconds=3725), **values, **counts)
    stat.save(get_broker())
    yield stat
    get_broker().set_stat(stat.key, "", 0.001)


def staff(client, *codenames: str):
    """Log in a user with some permissions."""
    user = User.objects.create_user("staff", is_staff=True)
    user.user_permissions.add(*Permission.objects.filter(codename__in=codenames))
    client.force_login(user)
    return client


def running_record() -> Record:
    """Create the record of a task that runs for 61 seconds."""
    now = timezone.now()
    return Record.objects.create(
        id="a" * 32,
        name="<i>task</i>",
        func="shop.ship",
        queue="test",
        status=Status.RUNNING,
        enqueued_at=now,
        last_attempted_at=now - timedelta(seconds=61),
        lease_ends_at=now + timedelta(seconds=60),
        attempts=[attempts.entry(1, "host worker-1", now)],
    )


def test_cluster_is_shown_with_its_processes_and_counts(client, stat: Stat) -> None:
    page = staff(client, "view_cluster").get(reverse(PAGE)).content.decode()
    assert "&lt;b&gt;apples&lt;/b&gt;" in page
    for text in ("sentinel 4001", "pusher 4002", "monitor 4003", "worker 4004", "worker 4005", "1:02:05", "Working"):
        assert text in page
    for number in (17, 19, 23):
        assert f"<td>{number}</td>" in page


def test_queues_are_counted(admin_client) -> None:
    broker = get_broker()
    broker.enqueue_many([f"package {number}" for number in range(41)])
    broker.dequeue_many(4, 0)
    page = admin_client.get(reverse(PAGE)).content.decode()
    assert "<td>37</td>" in page
    assert "<td>4</td>" in page


def test_running_task_is_linked_to_its_record(admin_client) -> None:
    running_record()
    page = admin_client.get(reverse(PAGE)).content.decode()
    assert f'<a href="{reverse("admin:django_q_record_change", args=["a" * 32])}">&lt;i&gt;task&lt;/i&gt;</a>' in page
    assert "0:01:01" in page


def test_version_of_a_cluster_is_shown(admin_client, stat: Stat) -> None:
    stat.version = "<7.8.9>"
    stat.save(get_broker())
    assert "<td>&lt;7.8.9&gt;</td>" in admin_client.get(reverse(PAGE)).content.decode()


def test_cluster_of_a_public_edition_has_no_version(admin_client, stat: Stat) -> None:
    del stat.version
    stat.save(get_broker())
    page = admin_client.get(reverse(PAGE)).content.decode()
    assert '<th scope="row">&lt;b&gt;apples&lt;/b&gt;</th>\n      <td>-</td>' in page


def test_running_task_is_cancelled_by_its_button(client) -> None:
    record = running_record()
    client = staff(client, "view_cluster", "view_record", "cancel_record")
    url = reverse("admin:django_q_record_change", args=[record.pk])
    assert f'<form method="post" action="{url}">' in client.get(reverse(PAGE)).content.decode()
    client.post(url, {"_cancel": "Cancel task"})
    record.refresh_from_db()
    assert record.cancel_requested_at is not None


@pytest.mark.parametrize("codename", ["view_record", "cancel_record"])
def test_button_needs_both_permissions(client, codename: str) -> None:
    running_record()
    page = staff(client, "view_cluster", codename).get(reverse(PAGE)).content.decode()
    assert "0:01:01" in page
    assert "_cancel" not in page


def test_page_says_that_no_cluster_runs(admin_client) -> None:
    page = admin_client.get(reverse(PAGE)).content.decode()
    assert "No clusters appear to be running." in page
    assert "No tracked task is running." in page


def test_page_says_that_the_cache_cannot_be_shared(admin_client, settings) -> None:
    settings.CACHES = {"default": {"BACKEND": "django.core.cache.backends.locmem.LocMemCache"}}
    page = admin_client.get(reverse(PAGE)).content.decode()
    assert "processes cannot share the cache" in page


def test_unavailable_broker_is_shown_on_the_page(admin_client, monkeypatch) -> None:
    def refuse(name: str) -> None:
        raise BrokerUnavailable("The server does not answer.")

    monkeypatch.setattr(snapshot, "queue_row", refuse)
    response = admin_client.get(reverse(PAGE))
    assert response.status_code == 200
    assert '<p class="errornote">The server does not answer.</p>' in response.content.decode()


def test_unavailable_table_is_shown_on_the_page(admin_client, unavailable) -> None:
    with unavailable("django_q_record"):
        page = admin_client.get(reverse(PAGE)).content.decode()
    assert "The database cannot be read" in page


def test_page_counts_no_tasks(admin_client) -> None:
    with CaptureQueriesContext(connection) as queries:
        admin_client.get(reverse(PAGE))
    assert not [query for query in queries.captured_queries if "COUNT(" in query["sql"].upper()]


@pytest.mark.parametrize(("codenames", "status"), [((), 403), (("view_cluster",), 200), (("view_record",), 403)])
def test_permission_opens_the_page(client, codenames, status: int) -> None:
    client = staff(client, *codenames)
    assert client.get(reverse(PAGE)).status_code == status
    assert (reverse(PAGE) in client.get(reverse("admin:index")).content.decode()) is (status == 200)


def test_anonymous_user_has_to_log_in(client) -> None:
    assert "/login/" in client.get(reverse(PAGE)).url


def test_page_is_complete_without_the_script(admin_client, stat: Stat) -> None:
    page = admin_client.get(reverse(PAGE)).content.decode()
    assert f'<a href="{reverse(PAGE)}">Refresh</a>' in page
    assert 'id="django-q-updates" hidden' in page


# queues


def send(seconds: float, **values) -> None:
    """Queue a package that was sent some seconds ago."""
    package = new_package("shop.ship") | {"started": timezone.now() - timedelta(seconds=seconds), **values}
    get_broker().enqueue(PackageCodec.of(current_settings()).dumps(package), priority=values.get("priority", 0))


def queue_cells(client) -> list[str]:
    """Return the cells of the first queue: sizes, oldest age, priority and clusters."""
    page = client.get(reverse(PAGE)).content.decode()
    row = page.partition('aria-label="Queues"')[2].partition("<tbody>")[2].partition("</tr>")[0]
    return [cell.partition("</td>")[0] for cell in row.split("<td>")[1:]]


def test_queue_has_the_age_and_priorities_of_its_next_packages(admin_client) -> None:
    send(61, priority=-5)
    send(10, priority=7)
    waiting, _leased, _dead, oldest, priority, _clusters = queue_cells(admin_client)
    assert (waiting, priority) == ("2", "-5 to 7")
    assert oldest.startswith("0:01:0")


@pytest.mark.parametrize("values", [{"priority": 3}, {"priority": "3"}, {"priority": True}, {"priority": 10**30}, {}])
def test_priority_of_one_package_is_a_number(admin_client, values) -> None:
    package = new_package("shop.ship") | values
    get_broker().enqueue(PackageCodec.of(current_settings()).dumps(package))
    assert queue_cells(admin_client)[4] == ("3" if values == {"priority": 3} else "0")


@pytest.mark.parametrize("packages", [(), ("unsigned",)])
def test_empty_or_unreadable_queue_has_no_age(admin_client, packages) -> None:
    for package in packages:
        get_broker().enqueue(package)
    assert queue_cells(admin_client)[3:5] == ["-", "-"]


def test_broker_that_cannot_list_is_explained(admin_client, monkeypatch) -> None:
    send(61)
    monkeypatch.setattr(type(get_broker()), "supports_listing", False)
    assert queue_cells(admin_client)[3:5] == ["-", "-"]
    page = admin_client.get(reverse(PAGE)).content.decode()
    assert "their age and priority are unknown" in page


def test_broker_that_fails_while_it_lists_is_a_problem_on_the_page(admin_client, monkeypatch) -> None:
    def refuse(broker: object) -> None:
        raise BrokerUnavailable("The server does not answer.")

    monkeypatch.setattr(queue_rows, "next_packages", refuse)
    assert queue_cells(admin_client)[3:5] == ["-", "-"]
    assert '<p class="errornote">The server does not answer.</p>' in admin_client.get(reverse(PAGE)).content.decode()


# workers


def publish_task(stat: Stat, **values) -> None:
    """Publish the snapshot with a task that the second worker has executed for 62 seconds."""
    started = timezone.now() - timedelta(seconds=62)
    task = {"worker": 4005, "id": "b" * 32, "name": "<u>ship</u>", "func": "shop.ship", "track": False}
    stat.tasks = [task | {"started": started} | values]
    stat.save(get_broker())


def worker_rows(client) -> dict[str, str]:
    """Return the rows of the table of workers by process id."""
    page = client.get(reverse(PAGE)).content.decode()
    table = page.partition('aria-label="Workers"')[2].partition("</table>")[0]
    rows = [row for row in table.split("<tr>") if '<th scope="row">' in row]
    return {row.partition('<th scope="row">')[2].partition("<")[0]: row for row in rows}


def test_worker_is_shown_with_its_task_and_run_time(admin_client, stat: Stat) -> None:
    publish_task(stat)
    rows = worker_rows(admin_client)
    assert [*rows] == ["4004", "4005"]
    for text in ("<td>&lt;u&gt;ship&lt;/u&gt;</td>", "<td>shop.ship</td>", "<td>0:01:0"):
        assert text in rows["4005"]
    assert rows["4004"].count("<td>-</td>") == 3


def test_worker_of_a_tracked_task_is_linked_to_its_record(admin_client, stat: Stat) -> None:
    publish_task(stat, track=True)
    url = reverse("admin:django_q_record_change", args=["b" * 32])
    assert f'<td><a href="{url}">&lt;u&gt;ship&lt;/u&gt;</a></td>' in worker_rows(admin_client)["4005"]


def test_task_without_a_readable_name_has_a_run_time(admin_client, stat: Stat) -> None:
    publish_task(stat, id="", name="", func="")
    row = worker_rows(admin_client)["4005"]
    assert row.count("<td>-</td>") == 2
    assert "<td>0:01:0" in row


def test_workers_of_a_public_edition_have_no_tasks(admin_client, stat: Stat) -> None:
    del stat.tasks
    stat.save(get_broker())
    assert all(row.count("<td>-</td>") == 3 for row in worker_rows(admin_client).values())


def test_no_workers_are_shown_without_a_cluster(admin_client) -> None:
    assert worker_rows(admin_client) == {}


# stopping a cluster


def stop_url(stat: Stat) -> str:
    """Return the address of the page that stops a cluster."""
    return reverse(STOP, query={"id": stat.cluster_id})


def messages_of(response) -> list[str]:
    """Return the messages of a response."""
    return [str(message) for message in get_messages(response.wsgi_request)]


def test_cluster_is_stopped_after_a_confirmation(client, stat: Stat) -> None:
    client = staff(client, "view_cluster", "stop_cluster")
    assert (
        f'<form action="{reverse(STOP)}"><input type="hidden" name="id" value="a-cluster">'
        in client.get(reverse(PAGE)).content.decode()
    )
    page = client.get(stop_url(stat)).content.decode()
    assert "&lt;b&gt;apples&lt;/b&gt;" in page
    assert "systemd" in page
    assert not Command.objects.exists()
    assert not LogEntry.objects.exists()
    response = client.post(stop_url(stat))
    assert response.url == reverse(PAGE)
    assert messages_of(response) == [
        "Cluster <b>apples</b> 4000 stops when it has read the command, within a few seconds."
    ]
    command = Command.objects.get()
    assert (command.kind, command.target) == ("cluster", "a-cluster")
    entry = LogEntry.objects.get()
    assert (entry.object_id, entry.object_repr) == ("a-cluster", "<b>apples</b> 4000")
    assert entry.get_change_message() == "Stopped."
    assert client.get(reverse("admin:index")).status_code == 200


def test_superuser_opens_the_log_of_a_stopped_cluster(admin_client, stat: Stat) -> None:
    admin_client.post(stop_url(stat))
    assert "&lt;b&gt;apples&lt;/b&gt; 4000" in admin_client.get(reverse("admin:index")).content.decode()


@pytest.mark.parametrize("method", ["get", "post"])
@pytest.mark.parametrize("codenames", [("view_cluster",), ("stop_cluster",), ("view_cluster", "cancel_record")])
def test_stop_needs_both_permissions(client, stat: Stat, codenames, method: str) -> None:
    client = staff(client, *codenames)
    assert getattr(client, method)(stop_url(stat)).status_code == 403
    assert "Stop cluster" not in client.get(reverse(PAGE)).content.decode()
    assert not Command.objects.exists()
    assert not LogEntry.objects.exists()


@pytest.mark.parametrize("method", ["get", "post"])
@pytest.mark.parametrize("change", [{"status": "Stopping"}, {"status": "Stopped"}, {"version": ""}])
def test_cluster_that_stops_or_reads_no_command_has_no_button(admin_client, stat: Stat, change, method: str) -> None:
    vars(stat).update(change)
    stat.save(get_broker())
    assert 'value="Stop cluster"' not in admin_client.get(reverse(PAGE)).content.decode()
    response = getattr(admin_client, method)(stop_url(stat))
    assert response.url == reverse(PAGE)
    assert messages_of(response) == ["The cluster does not run any more, or it stops already."]
    assert not Command.objects.exists()


@pytest.mark.parametrize("method", ["get", "post"])
def test_cluster_that_has_died_is_a_message(admin_client, stat: Stat, method: str) -> None:
    get_broker().set_stat(stat.key, "", 0.001)
    eventually(lambda: not Stat.get_all(), within=5)
    response = getattr(admin_client, method)(stop_url(stat))
    assert messages_of(response) == ["The cluster does not run any more, or it stops already."]
    assert not Command.objects.exists()


@pytest.mark.parametrize("method", ["get", "post"])
def test_unavailable_broker_is_a_message_and_stops_nothing(admin_client, stat: Stat, monkeypatch, method: str) -> None:
    def refuse(broker: object) -> None:
        raise BrokerUnavailable("The server does not answer.")

    monkeypatch.setattr(stop_page, "clusters_of", refuse)
    response = getattr(admin_client, method)(stop_url(stat))
    assert messages_of(response) == ["The cluster cannot be stopped now: The server does not answer."]
    assert not Command.objects.exists()


@pytest.mark.parametrize("table", ["django_q_command", "django_admin_log"])
def test_unavailable_database_is_a_message_and_stops_nothing(admin_client, stat: Stat, table: str, unavailable) -> None:
    with unavailable(table, statement="INSERT"):
        response = admin_client.post(stop_url(stat))
    assert response.url == reverse(PAGE)
    assert messages_of(response) == ["The cluster cannot be stopped now: server closed the connection"]
    assert not Command.objects.exists()
    assert not LogEntry.objects.exists()


def test_command_of_another_site_is_refused(stat: Stat, admin_user) -> None:
    client = Client(enforce_csrf_checks=True)
    client.force_login(admin_user)
    assert client.post(stop_url(stat)).status_code == 403
    assert not Command.objects.exists()
