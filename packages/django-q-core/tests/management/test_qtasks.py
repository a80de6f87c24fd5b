"""`manage.py qtasks`."""

from __future__ import annotations

import json
from datetime import timedelta
from io import StringIO

import pytest
from django.core.management import CommandError, call_command
from django.db import connection
from django.utils import timezone
from django_q.brokers import get_broker
from django_q.models import Command, Record, Task
from django_q.settings import current_settings
from django_q.tasks import async_task
from django_q.wire.codec import PackageCodec
from django_q.wire.outcome import encode

pytestmark = pytest.mark.django_db


@pytest.fixture(autouse=True)
def broker():
    """Broker with an empty queue."""
    broker = get_broker()
    broker.delete_queue()
    yield broker
    broker.delete_queue()


def output(*arguments: str) -> str:
    out = StringIO()
    call_command("qtasks", *arguments, stdout=out)
    return out.getvalue()


def queued(broker) -> list[dict]:
    """Fetch all packages of the queue."""
    deliveries = broker.dequeue_many(100, 0)
    return [PackageCodec.of(current_settings()).loads(delivery.package) for delivery in deliveries]


def record(letter: str, *, minutes: int = 0, **columns) -> Record:
    defaults = {
        "name": f"record-{letter}", "func": "math.floor", "queue": "test", "status": "succeeded",
        "enqueued_at": timezone.now() - timedelta(minutes=minutes), "arguments": encode(((1.5,), {})),
        "attempts": [{"number": 1, "worker": "host/cluster/9", "traceback": None}],
    }  # fmt: skip
    return Record.objects.create(id=letter * 32, **defaults | columns)


def task(letter: str, *, minutes: int = 0, **columns) -> Task:
    then = timezone.now() - timedelta(minutes=minutes)
    defaults = {"name": f"task-{letter}", "func": "math.floor", "args": (1.5,), "kwargs": {}, "result": 1}
    return Task.objects.create(id=letter * 32, started=then, stopped=then, **defaults | columns)


def ids(*arguments: str) -> str:
    return "".join(row["id"][0] for row in json.loads(output("list", "--json", *arguments)))


def test_tracked_and_finished_tasks_are_one_list():
    record("a", minutes=1, status="running")
    record("b", minutes=3)
    task("b", minutes=3)
    task("c", minutes=2)
    task("d", minutes=4, success=False)
    assert ids() == "acbd"
    assert ids("--limit", "2") == "ac"


@pytest.mark.parametrize(
    ("status", "found"), [("succeeded", "bc"), ("failed", "d"), ("running", "a"), ("cancelled", ""), ("queued", "")]
)
def test_status_chooses_tasks(status, found):
    record("a", status="running")
    record("b", minutes=1)
    task("c", minutes=2)
    task("d", success=False)
    assert ids("--status", status) == found


def test_group_chooses_tasks():
    record("a", group="reports")
    record("b")
    task("c", group="reports", minutes=1)
    assert ids("--group", "reports") == "ac"


@pytest.mark.parametrize("columns", ["80", "120", "200"])
def test_list_fits_the_screen(monkeypatch, columns):
    monkeypatch.setenv("COLUMNS", columns)
    record("a", status="running", name="n" * 90, func="f" * 200)
    header, row = output("list").splitlines()
    assert header.split() == ["Id", "Status", "Name", "Function"] + (["Sent", "Attempts"] if columns != "80" else [])
    assert row.startswith("a" * 32 + "  running    nnn")
    assert len(row) <= int(columns)


def test_empty_list_is_reported():
    assert output("list") == "There are no tasks.\n"
    assert json.loads(output("list", "--json")) == []
    assert json.loads(output("--json", "list")) == []


def test_tracked_task_is_shown_with_its_attempts():
    record(
        "a",
        status="failed",
        attempts=[
            {
                "number": 1,
                "worker": "host/cluster/9",
                "exception_class": "builtins.ValueError",
                "traceback": "one\ntwo",
            },
            {"number": 2, "worker": "host/cluster/10", "exception_class": None, "traceback": None},
        ],
    )
    lines = output("show", "a" * 32).splitlines()
    assert {"status: failed", "args: (1.5,)", "attempt 1:", "attempt 2:"} <= set(lines)
    assert lines[lines.index("  traceback: one") + 1] == "    two"
    assert json.loads(output("show", "--json", "record-a"))["attempts"][0]["worker"] == "host/cluster/9"


def test_finished_task_is_shown_with_its_result():
    task("c", result="Traceback\n  ValueError: \x1b[2J", success=False)
    lines = output("show", "task-c").splitlines()
    assert {"status: failed", "is_tracked: False", "result: Traceback"} <= set(lines)
    assert "      ValueError: \\x1b[2J" in lines


def test_result_of_a_tracked_task_may_be_in_the_other_table():
    record("a", status="failed")
    task("a", result="the reason", success=False)
    assert "result: the reason" in output("show", "record-a")


@pytest.mark.parametrize("action", ["show", "resubmit"])
def test_unknown_task_is_an_error(action):
    with pytest.raises(CommandError):
        output(action, "unknown")


def test_waiting_task_is_cancelled():
    task_id = async_task.options(track=True)("math.floor", 1.5)
    assert output("cancel", task_id) == f"Cancellation of {task_id} was requested.\n"
    assert Command.objects.get().target == task_id
    assert Record.objects.get().cancel_requested_at is not None


def test_task_that_has_ended_is_not_cancelled():
    task("c")
    with pytest.raises(CommandError, match="have ended: " + "c" * 32):
        output("cancel", "c" * 32)


def test_group_is_cancelled():
    for _ in range(2):
        async_task.options(track=True, group="reports")("math.floor", 1.5)
    assert output("cancel", "--group", "reports") == "Cancellation of 2 tracked tasks was requested.\n"


def test_cancel_without_tasks_is_an_error():
    with pytest.raises(CommandError, match="--group"):
        output("cancel")


def test_finished_task_is_sent_again(broker):
    task("c", hook="math.ceil", group="reports", success=False)
    text = output("resubmit", "c" * 32)
    (package,) = queued(broker)
    assert (package["func"], package["args"], package["hook"]) == ("math.floor", (1.5,), "math.ceil")
    assert (package["group"], text) == ("reports", f"{'c' * 32} was sent again as {package['id']}.\n")


def test_tracked_task_is_sent_again_and_tracked(broker):
    record("a", status="cancelled", priority=7, group="reports")
    output("resubmit", "record-a")
    (package,) = queued(broker)
    new = Record.objects.get(status="queued")
    assert (new.id, new.priority, new.group, new.args) == (package["id"], 7, "reports", (1.5,))


@pytest.mark.parametrize("status", ["queued", "running", "retrying", "scheduled"])
def test_task_that_has_not_ended_is_not_sent_again(broker, status):
    record("a", status=status)
    with pytest.raises(CommandError, match="Not resubmitted"):
        output("resubmit", "a" * 32)
    assert queued(broker) == []


def test_other_tasks_are_sent_after_one_that_cannot_be(broker, capsys):
    task("c", func="nowhere.to_be_found")
    task("d")
    record("e", arguments=None)
    err = StringIO()
    with pytest.raises(CommandError, match=r"c{32}, e{32}"):
        call_command("qtasks", "resubmit", "c" * 32, "d" * 32, "e" * 32, stderr=err, stdout=StringIO())
    assert len(queued(broker)) == 1
    assert "nowhere" in err.getvalue()
    assert "too large" in err.getvalue()


def test_missing_tables_are_an_error_with_the_remedy(transactional_db):
    def renamed(execute, sql, *rest):  # the model itself keeps columns of a table whose name was changed once
        return execute(sql.replace(Record._meta.db_table, "no_such_table"), *rest)

    with connection.execute_wrapper(renamed), pytest.raises(CommandError, match="migrated"):
        output("list")
    connection.close()
