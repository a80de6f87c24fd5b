"""A session that became read-only, or was terminated, is closed and replaced."""

from __future__ import annotations

from datetime import timedelta
from types import SimpleNamespace
from typing import TYPE_CHECKING

import pytest
from django.core.management import call_command
from django.db import DatabaseError, IntegrityError, connections, transaction
from django.utils import timezone
from django_q.brokers.memory import MemoryBroker
from django_q.cluster.commands import CommandReader
from django_q.cluster.earlier_success import saved_success
from django_q.cluster.ipc.channels import Channel
from django_q.cluster.ipc.marks import CommandMarks
from django_q.cluster.ipc.state import ClusterState
from django_q.cluster.maintenance import Maintenance
from django_q.cluster.processes.monitor import Monitor
from django_q.cluster.processes.scheduler import Scheduler
from django_q.databases import writable
from django_q.databases.connections import close_after, close_connections, end_sessions, keep_connections
from django_q.databases.errors import (
    is_conflict,
    is_serialization_failure,
    is_session_failure,
    is_unavailable,
    is_unsuitable,
)
from django_q.execution import Executor
from django_q.finishing import Finisher
from django_q.models import Schedule, Task
from django_q.results import refusals
from django_q.results.database import DatabaseResults
from django_q.schedules.due import DueSchedules
from django_q.settings import current_settings
from django_q.wire.package import new_package

from tests.databases import BREAKS, OneDatabase, ask, make_read_only, reachable

if TYPE_CHECKING:
    from collections.abc import Iterator

    from tests.services import MariaDB


@pytest.fixture(scope="module", params=["postgres", "mariadb"])
def database(request, django_db_setup, django_db_blocker) -> Iterator[str]:
    """A database whose connections are kept without limit."""
    server = request.getfixturevalue(f"{request.param}_server")
    server.start()
    database = server.fresh_database() | {"CONN_MAX_AGE": None}
    with django_db_blocker.unblock(), reachable(f"failover_{request.param}", database) as alias:
        call_command("migrate", "django_q", database=alias, verbosity=0)
        yield alias


@pytest.fixture
def alias(database, settings, django_db_blocker):
    """The database of all models."""
    settings.DATABASE_ROUTERS = [OneDatabase(database)]
    with django_db_blocker.unblock():
        yield database
        connections[database].close()
        for model in (Task, Schedule):
            model.objects.all().delete()


@pytest.fixture(params=list(BREAKS))
def broken(request, alias):
    """Session of this thread, which became read-only."""
    connections[alias].ensure_connection()
    BREAKS[request.param](connections[alias])
    return connections[alias]


def caught(work) -> DatabaseError:
    with pytest.raises(DatabaseError) as caught:
        work()
    return caught.value


def test_errors_are_of_the_session(broken, outcome, settings_of) -> None:
    error = caught(lambda: DatabaseResults(settings_of()).save_many([outcome()]))
    assert is_session_failure(error)
    assert is_unavailable(error)
    assert not is_conflict(error)
    assert not is_unsuitable(error)


def test_connection_with_an_error_is_closed(broken, outcome, settings_of) -> None:
    require_writable = writable.require_writable
    caught(lambda: require_writable(Task, broken.alias))
    end_sessions()
    DatabaseResults(settings_of()).save_many([outcome()])
    assert Task.objects.count() == 1


def fail(how: str, alias: str) -> None:
    """Read the database, as a task."""
    try:
        with transaction.atomic(using=alias):
            Task.objects.create(id="1", name="n", func="f", started=timezone.now(), stopped=timezone.now())
    except DatabaseError as error:
        if how == "hides the cause":
            raise ValueError("no database") from error
        if how == "forgets the cause":
            raise ValueError("no database")  # noqa: B904
        raise


@pytest.mark.parametrize("how", ["raises it", "hides the cause", "forgets the cause"])
def test_task_that_failed_because_of_its_session_spoils_no_other(broken, how) -> None:
    executor = Executor(current_settings())
    for _ in range(2):
        outcome = executor.execute(new_package(fail, (how, broken.alias)))
        if executor.exception is not None:
            close_after(executor.exception)
    assert outcome.success


def test_connections_stay_after_other_errors(alias) -> None:
    connections[alias].ensure_connection()
    kept = connections[alias].connection
    close_after(ValueError("a bug"))
    assert connections[alias].connection is kept


def test_connection_after_a_conflict_of_rows_stays(alias, outcome) -> None:
    columns = {"id": "1", "name": "n", "func": "f", "started": timezone.now(), "stopped": timezone.now()}
    Task.objects.create(**columns)
    with pytest.raises(IntegrityError):
        Task.objects.create(**columns)
    kept = connections[alias].connection
    end_sessions()
    assert connections[alias].connection is kept


def test_open_transaction_stays(alias) -> None:
    with transaction.atomic(using=alias):
        kept = connections[alias].connection
        close_connections()
        assert connections[alias].connection is kept


def test_monitor_saves_after_two_attempts(broken, outcome) -> None:
    settings = current_settings()
    wiring = SimpleNamespace(settings=settings, tasks=None, results=None, state=ClusterState(settings.workers))
    monitor = Monitor(wiring)
    monitor.broker = MemoryBroker("failover", settings=settings)
    monitor.finisher = Finisher(settings, monitor.broker)
    monitor.database.outcomes = [outcome() for _ in range(3)]
    for _ in range(2):
        monitor.database.retry_at = 0.0
        monitor._settle()
    assert Task.objects.count() == 3
    assert not monitor.database.outcomes


def test_earlier_success_is_not_read_from_a_replica(broken, outcome, settings_of) -> None:
    package = {"id": "an id", "group": None}
    assert is_unavailable(caught(lambda: saved_success(package, settings_of())))
    keep_connections()
    DatabaseResults(settings_of()).save_many([outcome(5, id="an id")])
    assert saved_success(package, settings_of())["result"] == 5


def test_schedule_is_sent_by_the_next_session_and_not_marked(broken) -> None:
    broken.close()
    due = [Schedule.objects.create(func="math.floor", args="1.5", schedule_type="H") for _ in range(2)]
    make_read_only(broken)
    settings = current_settings()
    broker = MemoryBroker("failover", settings=settings)
    schedules = DueSchedules(settings, broker)
    caught(lambda: schedules.run_pass(timezone.now() + timedelta(seconds=1)))
    close_connections()
    assert not Schedule.objects.exclude(last_error=None).exists()
    sent = schedules.run_pass(timezone.now() + timedelta(seconds=1)).sent
    broker.delete_queue()
    assert {schedule.pk for schedule, _ in sent} == {schedule.pk for schedule in due}


def test_idle_scheduler_notices_a_server_without_new_schedules(broken) -> None:
    schedules = DueSchedules(current_settings(), MemoryBroker("failover", settings=current_settings()))
    caught(schedules.run_pass)
    close_connections()
    schedules.run_pass()


def test_idle_scheduler_rarely_checks_that_it_can_write(alias, monkeypatch) -> None:
    asked = []
    monkeypatch.setattr(writable, "require_writable", lambda *where: asked.append(where))
    schedules = DueSchedules(current_settings(), MemoryBroker("failover", settings=current_settings()))
    for _ in range(5):
        schedules.run_pass()
    assert asked == [(Schedule, alias)]


def test_scheduler_goes_on_with_the_next_session(broken) -> None:
    settings = current_settings()
    scheduler = Scheduler(SimpleNamespace(settings=settings, state=ClusterState(settings.workers)))
    scheduler.schedules = DueSchedules(settings, MemoryBroker("failover", settings=settings))
    failures = [(scheduler._send_due(), scheduler.sending.failures)[1] for _ in range(2)]
    assert failures == [1, 0]


def test_reader_of_commands_goes_on_with_the_next_session(broken) -> None:
    reader = CommandReader("scheduler", SimpleNamespace(marks=CommandMarks(), commands=Channel()))
    reader.step()
    assert not reader.marks.are_loaded
    reader.due = 0.0
    reader.step()
    assert reader.marks.are_loaded


def test_unavailable_success_is_not_considered_protected(broken, outcome, settings_of, caplog) -> None:
    broken.close()
    refusals.refusals_of.cache_clear()
    DatabaseResults(settings_of()).save_many([outcome() for _ in range(3)])
    task = Task.objects.first()
    make_read_only(broken)
    caught(lambda: refusals.delete_one(task, broken.alias, refusals.refusals_of(broken.alias)))
    assert not refusals.refusals_of(broken.alias).has(task.pk)
    assert "skipped" not in caplog.text


def test_maintenance_goes_on_with_the_next_session(broken, outcome, settings_of) -> None:
    broken.close()
    DatabaseResults(settings_of()).save_many([outcome() for _ in range(3)])
    make_read_only(broken)
    maintenance = Maintenance("test", settings_of(save_limit=1), SimpleNamespace(saved=3))
    for _ in range(2):
        maintenance.due = 0.0
        maintenance.step()
    assert Task.objects.count() == 1


def test_mariadb_that_is_set_to_read_only(
    mariadb_server: MariaDB, outcome, settings, settings_of, django_db_blocker
) -> None:
    mariadb_server.start()
    database = mariadb_server.fresh_database() | {"USER": "app", "CONN_MAX_AGE": None}
    with (
        mariadb_server.connect() as root,
        root.cursor() as cursor,
        django_db_blocker.unblock(),
        reachable("plain_user", database) as alias,
    ):
        for statement in ("CREATE USER app", f"GRANT ALL ON {database['NAME']}.* TO app"):
            cursor.execute(statement)
        try:
            call_command("migrate", "django_q", database=alias, verbosity=0)
            settings.DATABASE_ROUTERS = [OneDatabase(alias)]
            session = ask(connections[alias], "SELECT connection_id()")
            cursor.execute("SET GLOBAL read_only = 1")
            error = caught(lambda: DatabaseResults(settings_of()).save_many([outcome()]))
            assert error.args[0] == 1290
            assert is_session_failure(error)
            assert is_session_failure(caught(lambda: writable.require_writable(Task, alias)))
            end_sessions()
            assert ask(connections[alias], "SELECT connection_id()") != session
        finally:
            cursor.execute("SET GLOBAL read_only = 0")
            cursor.execute("DROP USER app")


@pytest.mark.parametrize(
    ("code", "of_session", "repeated"),
    [
        *((code, True, False) for code in ("25006", "57P01", "57P02", "57P03", 1053, 1290, 1792, 1836, 1927, 2006)),
        *((code, False, True) for code in ("40001", "40P01", 1020, 1213)),
        *((code, False, False) for code in ("53100", "55P03", 1205, 1040)),
    ],
)
def test_codes_of_servers(code, of_session, repeated) -> None:
    error = DatabaseError(code, "text") if isinstance(code, int) else DatabaseError("text")
    error.__cause__ = None if isinstance(code, int) else type("DriverError", (Exception,), {"sqlstate": code})()
    assert is_session_failure(error) is of_session
    assert is_serialization_failure(error) is repeated
    assert is_unavailable(error)
    assert not is_unsuitable(error)
