"""A batch of outcomes is saved completely, even if one of them is invalid, and saving is idempotent."""

from __future__ import annotations

from datetime import UTC, datetime

import pytest
from django.db import DatabaseError, DataError, OperationalError, connection, transaction
from django.test.utils import CaptureQueriesContext
from django_q.databases import limits as database_limits
from django_q.databases.connections import close_connections
from django_q.databases.errors import is_unavailable
from django_q.models import Failure, Success, Task
from django_q.results import database
from django_q.results.database import DatabaseResults
from django_q.wire.outcome import encode

pytestmark = pytest.mark.django_db


@pytest.fixture
def results(settings_of) -> DatabaseResults:
    return DatabaseResults(settings_of())


def test_outcome_is_read_back_as_it_was(results, outcome) -> None:
    expected = outcome({"a": [1]}, group="g", hook="m.hook", args=encode((1, "ä")), kwargs=encode({"x": None}))
    results.save_many([expected])
    task = Task.objects.get()
    assert (task.id, task.name, task.func, task.hook) == (expected.id, expected.name, expected.func, "m.hook")
    assert (task.args, task.kwargs, task.result) == ((1, "ä"), {"x": None}, {"a": [1]})
    assert (task.group, task.cluster, task.success) == ("g", "default", True)
    assert (task.started, task.stopped) == (expected.started, expected.stopped)
    assert task.attempt_count == 1


def test_large_batch_is_saved_whole(results, outcome, settings_of) -> None:
    DatabaseResults(settings_of(save_limit=0)).save_many([outcome(number) for number in range(250)])
    assert sorted(Task.objects.values_list("result", flat=True)) == list(range(250))


def test_batch_is_few_statements(results, outcome) -> None:
    with CaptureQueriesContext(
        connection,
    ) as queries:
        results.save_many([outcome() for _ in range(50)])
    assert len(queries) <= 6, [query["sql"][:80] for query in queries]


def test_long_results_do_not_exceed_a_statement(results, outcome) -> None:
    results.save_many([outcome("x" * 3_000_000) for _ in range(8)])
    assert {len(result) for result in Task.objects.values_list("result", flat=True)} == {3_000_000}


# saved values


@pytest.mark.parametrize(
    ("save_limit", "save", "saved"),
    [(250, None, True), (250, False, False), (0, None, True), (-1, None, False), (-1, True, True), (-1, False, False)],
)
def test_success_is_saved_as_its_option_says_or_else_the_setting(settings_of, outcome, save_limit, save, saved) -> None:
    DatabaseResults(settings_of(save_limit=save_limit)).save_many([outcome(save=save)])
    assert Success.objects.exists() is saved


@pytest.mark.parametrize("save", [None, True, False])
def test_failure_is_always_saved(settings_of, outcome, save) -> None:
    DatabaseResults(settings_of(save_limit=-1)).save_many([outcome("oh", save=save, success=False)])
    assert Failure.objects.get().result == "oh"


def test_nothing_to_save_asks_no_database(settings_of, outcome, django_assert_num_queries) -> None:
    with django_assert_num_queries(0):
        DatabaseResults(settings_of(save_limit=-1)).save_many([outcome(), outcome()])


# attempts


def test_later_success_replaces_a_failure(results, outcome) -> None:
    failure = outcome("oh", success=False)
    results.save_many([failure])
    results.save_many([outcome(42, id=failure.id, attempt=2)])
    task = Task.objects.get()
    assert (task.success, task.result, task.attempt_count) == (True, 42, 2)


def test_nothing_replaces_a_success(results, outcome) -> None:
    success = outcome(42)
    results.save_many([success])
    results.save_many([outcome("oh", id=success.id, success=False), outcome(43, id=success.id)])
    task = Task.objects.get()
    assert (task.success, task.result, task.stopped) == (True, 42, success.stopped)


def test_attempts_after_a_success_are_counted(results, outcome) -> None:
    success = outcome(42)
    results.save_many([success])
    results.save_many([outcome(43, id=success.id, attempt=2)])
    assert Task.objects.get().attempt_count == 2


def test_later_failure_replaces_a_failure(results, outcome) -> None:
    first = outcome("first", success=False)
    results.save_many([first])
    results.save_many([outcome("second", id=first.id, success=False, attempt=2)])
    task = Task.objects.get()
    assert (task.result, task.attempt_count) == ("second", 2)


def test_failure_that_arrives_late_replaces_nothing(results, outcome) -> None:
    early, late = outcome("early", success=False), outcome("late", success=False, attempt=2)
    results.save_many([late._replace(id=early.id)])
    results.save_many([early])
    task = Task.objects.get()
    assert (task.result, task.attempt_count) == ("late", 2)


def test_attempts_in_one_batch_are_distinguished(results, outcome) -> None:
    first = outcome("oh", success=False)
    again, last = outcome("oh again", id=first.id, success=False, attempt=2), outcome(42, id=first.id, attempt=3)
    results.save_many([first, again, last])
    task = Task.objects.get()
    assert (task.result, task.attempt_count) == (42, 3)


def test_saving_a_batch_again_changes_nothing(results, outcome) -> None:
    batch = [outcome(1), outcome("oh", success=False), outcome(2)]
    first = results.save_many(batch)
    before = list(Task.objects.order_by("id").values())
    assert results.save_many(batch) == first == batch
    assert list(Task.objects.order_by("id").values()) == before


def test_outcomes_are_returned_in_order(results, outcome) -> None:
    batch = [outcome(1), outcome(2, save=False), outcome("oh", success=False), outcome(3)]
    assert results.save_many(batch) == batch


@pytest.mark.parametrize(("recorded", "attempt", "expected"), [(0, 1, 1), (0, 3, 3), (1, 2, 2), (1, 4, 4), (3, 1, 3)])
def test_row_has_the_attempt_number_and_never_a_smaller_one(results, outcome, recorded, attempt, expected) -> None:
    failure = outcome("oh", success=False, attempt=recorded)
    if recorded:
        results.save_many([failure])
    last = outcome(42, id=failure.id, attempt=attempt)
    for _ in range(2):
        results.save_many([last])
        assert Task.objects.get().attempt_count == expected


def test_new_and_known_tasks_share_a_batch(results, outcome) -> None:
    known = outcome("oh", success=False)
    results.save_many([known])
    results.save_many([outcome(1), outcome(2, id=known.id, attempt=2), outcome(3)])
    assert sorted(Task.objects.values_list("result", "attempt_count")) == [(1, 1), (2, 2), (3, 1)]


def test_task_saved_by_two_clusters_is_saved_once(results, outcome, monkeypatch) -> None:
    shared = outcome("oh", success=False)
    other = DatabaseResults(results.settings)
    existing = database.existing
    rivals = iter([outcome("rival", id=shared.id, success=False, attempt=2)])
    results.save_many([shared])

    def meanwhile(ids, using) -> set[str]:
        before = existing(ids, using)
        other.save_many(list(rivals))
        return before

    monkeypatch.setattr(database, "existing", meanwhile)
    results.save_many([outcome(1), outcome(2, id=shared.id, attempt=3)])
    assert sorted(Task.objects.values_list("result", "attempt_count")) == [(1, 1), (2, 3)]


# one bad outcome


def successes(saved) -> list[bool]:
    return [outcome.success for outcome in saved]


@pytest.mark.parametrize(
    ("label", "length"), [("group", 100), ("name", 100), ("func", 256), ("hook", 256), ("cluster", 100)]
)
def test_long_label_of_a_success_is_truncated(results, outcome, label, length) -> None:
    good, long = outcome(1), outcome(2, **{label: "x" * (length + 1)})
    assert successes(results.save_many([good, long])) == [True, True]
    assert sorted(Success.objects.values_list("result", flat=True)) == [1, 2]
    assert getattr(Success.objects.get(pk=long.id), label) == "x" * (length - 1) + "…"


def test_label_of_full_length_is_saved(results, outcome) -> None:
    results.save_many([outcome(group="x" * 100, name="ä" * 100)])
    assert Success.objects.filter(group="x" * 100, name="ä" * 100).exists()


@pytest.mark.parametrize("character", ["\0", "\ud800"])
def test_unstorable_character_in_a_label_is_replaced(results, outcome, character) -> None:
    results.save_many([outcome(1), outcome(2, group=f"a{character}b")])
    assert sorted(Success.objects.values_list("result", "group")) == [(1, None), (2, "a\N{REPLACEMENT CHARACTER}b")]


def test_rejected_label_of_a_success_is_replaced_by_ascii(results, outcome, monkeypatch) -> None:
    insert = database.insert

    def refuse(outcomes, using) -> None:
        if any(not (each.group or "").isascii() for each in outcomes):
            raise DataError("Incorrect string value: 'ä'")
        insert(outcomes, using)

    monkeypatch.setattr(database, "insert", refuse)
    results.save_many([outcome(1), outcome(2, group="ä" * 200)])
    success = Success.objects.get(group__isnull=False)
    assert len(success.group) == 100
    assert success.group.isascii()
    assert success.result == 2


def test_value_that_the_database_refuses_fails_its_task_alone(results, outcome, monkeypatch) -> None:
    bad = outcome(2)
    insert = database.insert

    def refuse(outcomes, using) -> None:
        if any(each.result == bad.result for each in outcomes):
            raise DataError("value out of range")
        insert(outcomes, using)

    monkeypatch.setattr(database, "insert", refuse)
    saved = results.save_many([outcome(1), bad, outcome(3)])
    assert successes(saved) == [True, False, True]
    assert [each.final for each in saved] == [False, True, False]  # the task returned: it must not run again
    assert sorted(Success.objects.values_list("result", flat=True)) == [1, 3]
    failure = Failure.objects.get()
    assert failure.id == bad.id
    assert failure.result == "The task returned, but could not be saved as it is: DataError: value out of range."


def test_result_too_long_for_a_statement_fails_its_task_alone(results, outcome, monkeypatch) -> None:
    monkeypatch.setattr(database_limits, "longest_statement", lambda connection: 16_000_000)
    good, bad = outcome("x" * 1_000_000), outcome("x" * 20_000_000)
    assert successes(results.save_many([good, bad])) == [True, False]
    assert Success.objects.get().id == good.id
    assert "max_allowed_packet is 16,000,000" in Failure.objects.get().result


def test_server_says_how_long_a_statement_may_be() -> None:
    limit = database_limits.longest_statement(connection)
    assert limit is None if connection.vendor != "mysql" else limit >= 1_000_000


def test_moments_without_a_zone_are_understood(results, outcome) -> None:
    results.save_many([outcome(started=datetime(2020, 1, 1, 12))])
    assert Task.objects.get().started == datetime(2020, 1, 1, 12, tzinfo=UTC)


# the database is away


def test_database_outage_differs_from_an_invalid_outcome() -> None:
    assert is_unavailable(OperationalError("database is locked"))
    assert not is_unavailable(ValueError("bad"))
    assert not is_unavailable(OperationalError(1366, "Incorrect string value"))
    assert not is_unavailable(OperationalError(1267, "Illegal mix of collations"))


def test_database_outage_is_raised(results, outcome, monkeypatch) -> None:
    def away(*args: object) -> None:
        raise OperationalError("server closed the connection unexpectedly")

    monkeypatch.setattr(database, "insert", away)
    with pytest.raises(OperationalError):
        results.save_many([outcome()])


def test_transaction_of_the_caller_decides(results, outcome) -> None:
    known = outcome("oh", success=False)
    results.save_many([known])
    with transaction.atomic():
        results.save_many([outcome(1), outcome(2, id=known.id)])
        transaction.set_rollback(True)
    assert Success.objects.count() == 0


@pytest.mark.skipif(connection.vendor == "sqlite", reason="SQLite has no server that could cut a connection")
@pytest.mark.django_db(transaction=True)
def test_connection_that_was_cut_costs_one_try(results, outcome) -> None:
    expected = outcome("oh", success=False)
    results.save_many([outcome(1)])
    cut()
    with pytest.raises(DatabaseError) as caught:
        results.save_many([expected])
    assert is_unavailable(caught.value)
    close_connections()
    assert results.save_many([expected]) == [expected]


def cut() -> None:
    """Let the server close the connection of this thread."""
    asking, killing = {
        "postgresql": ("SELECT pg_backend_pid()", "SELECT pg_terminate_backend(%s)"),
        "mysql": ("SELECT connection_id()", "KILL %s"),
    }[connection.vendor]
    with connection.cursor() as cursor:
        cursor.execute(asking)
        mine = cursor.fetchone()
    other = connection.copy()
    with other.cursor() as cursor:
        cursor.execute(killing, mine)
    other.close()
