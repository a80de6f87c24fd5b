"""Receivers of `pre_save` and `post_save` of `Task` are called; one that raises affects no outcome."""

from __future__ import annotations

import pickle

import pytest
from django.db import DataError, connection, transaction
from django.db.models.signals import post_save, pre_save
from django.test.utils import CaptureQueriesContext
from django_q.models import Failure, Success, Task
from django_q.results import database
from django_q.results.database import DatabaseResults
from django_q.wire.outcome import encode

pytestmark = pytest.mark.django_db


@pytest.fixture
def results(settings_of) -> DatabaseResults:
    return DatabaseResults(settings_of())


@pytest.fixture
def receiver():
    """Connect receivers, until the test ends."""
    connected = []

    def connect(signal, receive, sender=Task) -> None:
        signal.connect(receive, weak=False, sender=sender)
        connected.append((signal, receive, sender))

    yield connect
    for signal, receive, sender in connected:
        signal.disconnect(receive, sender=sender)


@pytest.fixture
def heard(receiver):
    """Arguments that receivers of both signals get."""
    received = []
    receiver(pre_save, lambda instance, **more: received.append(("pre", instance.name, None)))
    receiver(post_save, lambda instance, created, **more: received.append(("post", instance.name, created)))
    return received


def test_receivers_are_called_for_each_outcome(results, outcome, heard) -> None:
    results.save_many([outcome(1, name="a"), outcome("oh", name="b", success=False)])
    assert heard == [("pre", "a", None), ("post", "a", True), ("pre", "b", None), ("post", "b", True)]


def test_receivers_are_called_once_per_attempt(results, outcome, heard) -> None:
    failure = outcome("oh", name="a", success=False)
    results.save_many([failure])
    heard.clear()
    success = outcome(1, name="a", id=failure.id)
    results.save_many([success])
    assert heard == [("pre", "a", None), ("post", "a", False)]
    heard.clear()
    results.save_many([success])
    results.save_many([outcome("late", name="a", id=failure.id, success=False)])
    assert heard == []


@pytest.mark.parametrize(
    "received",
    [
        [(1, True)],
        [("oh", False), ("oh again", False)],
        [("oh", False), (1, True)],
        [(1, True), ("oh", False)],
        [(1, True), (2, True)],
    ],
)
def test_rows_are_the_same_with_and_without_receivers(results, outcome, receiver, received) -> None:
    attempts = [outcome({"a": r}, success=success, attempt=n) for n, (r, success) in enumerate(received, 1)]
    rows, saved = [], []
    for number, _ in enumerate(("without", "with")):
        if number:
            receiver(post_save, lambda **more: None)
        batch = [each._replace(id=f"{number:032}") for each in attempts]
        saved.append([results.save_many([each])[0]._replace(id="") for each in batch])
        columns = ("name", "args", "result", "success", "stopped", "attempt_count")
        rows.append(Task.objects.values(*columns).get(pk=batch[0].id))
    assert rows[0] == rows[1]
    assert saved[0] == saved[1]


def test_receivers_read_plain_values(results, outcome, receiver) -> None:
    seen = []
    receiver(pre_save, lambda instance, **more: seen.append((instance.args, instance.kwargs, instance.result)))
    receiver(post_save, lambda instance, **more: seen.append((instance.args, instance.kwargs, instance.result)))
    results.save_many([outcome({"a": [1]}, args=encode((1, "ä")), kwargs=encode({"x": None}))])
    assert seen == [((1, "ä"), {"x": None}, {"a": [1]})] * 2
    assert Success.objects.get().result == {"a": [1]}


class Trap:
    """Runs code when it is unpickled."""

    sprung: list[int] = []

    def __reduce__(self):
        return self.sprung.append, (1,)


def test_nothing_is_unpickled_that_no_receiver_reads(results, outcome, heard, monkeypatch) -> None:
    def unpickled(*args: object, **more: object) -> None:
        raise AssertionError

    trap = outcome(Trap())
    monkeypatch.setattr(pickle, "loads", unpickled)
    monkeypatch.setattr("django_q.models.fields.decode", unpickled)
    results.save_many([trap, trap._replace(success=False, stopped=outcome().stopped)])
    assert len(heard) == 2


def test_receiver_of_pre_save_may_change_the_row(results, outcome, receiver) -> None:
    def mask(instance: Task, **more: object) -> None:
        instance.group, instance.result = "changed", "masked"

    receiver(pre_save, mask)
    results.save_many([outcome("secret")])
    assert Task.objects.values_list("group", "result").get() == ("changed", "masked")


@pytest.mark.parametrize("signal", [pre_save, post_save])
@pytest.mark.parametrize(
    "error",
    [ValueError("no \udce9 index"), SystemExit(1), DataError("too long")],
    ids=["surrogate", "exit", "data"],
)
def test_receiver_that_raises_affects_no_outcome(results, outcome, receiver, caplog, signal, error) -> None:
    seen = []

    def audit(instance: Task, **more: object) -> None:
        seen.append(instance.name)
        if instance.name == "bad":
            raise error

    receiver(signal, audit)
    outcomes = [outcome(1), outcome(2, name="bad"), outcome(3), outcome("oh", success=False)]
    assert results.save_many(outcomes) == outcomes
    assert sorted(Success.objects.values_list("result", flat=True)) == [1, 2, 3]
    assert Failure.objects.count() == 1
    assert len(seen) == 4
    assert "a receiver of pre_save or post_save raised" in caplog.text


def test_receiver_that_breaks_the_transaction_affects_no_outcome(results, outcome, receiver) -> None:
    def audit(**more: object) -> None:
        with connection.cursor() as cursor:
            cursor.execute("SELECT nothing FROM nowhere")

    receiver(post_save, audit)
    results.save_many([outcome(1), outcome(2)])
    assert sorted(Success.objects.values_list("result", flat=True)) == [1, 2]


@pytest.mark.django_db(transaction=True)
def test_callback_on_commit_that_raises_affects_no_outcome(results, outcome, receiver, caplog) -> None:
    ran = []

    def callback() -> None:
        ran.append(1)
        raise ValueError("cannot send mail")

    receiver(post_save, lambda **more: transaction.on_commit(callback))
    results.save_many([outcome(1), outcome(2)])
    assert sorted(Success.objects.values_list("result", "attempt_count")) == [(1, 1), (2, 1)]
    assert len(ran) == 2
    assert "cannot send mail" in caplog.text


def test_value_that_the_database_refuses_fails_its_task_alone(results, outcome, heard, monkeypatch) -> None:
    bad, insert, save = outcome(2), database.insert, Task.save

    def refuse(outcomes, using) -> None:
        if any(each.result == bad.result for each in outcomes):
            raise DataError("value out of range")
        insert(outcomes, using)

    def refuse_model(self, **more: object) -> None:
        if self.id == bad.id and self.success:
            raise DataError("value out of range")
        save(self, **more)

    monkeypatch.setattr(database, "insert", refuse)
    monkeypatch.setattr(Task, "save", refuse_model)
    assert [each.success for each in results.save_many([outcome(1), bad, outcome(3)])] == [True, False, True]
    assert sorted(Success.objects.values_list("result", flat=True)) == [1, 3]
    assert "value out of range" in Failure.objects.get().result


def test_receivers_of_proxy_models_are_not_called(results, outcome, receiver) -> None:
    heard = []
    for proxy in (Success, Failure):
        receiver(post_save, lambda **more: heard.append(more), sender=proxy)
    results.save_many([outcome(1), outcome(2, success=False)])
    assert heard == []


def test_without_receivers_a_batch_is_few_statements(results, outcome) -> None:
    with CaptureQueriesContext(connection) as queries:
        results.save_many([outcome() for _ in range(50)])
    assert len(queries) <= 6
