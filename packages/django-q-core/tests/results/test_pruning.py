"""The newest `save_limit` successes remain, exactly."""

from __future__ import annotations

from datetime import timedelta

import pytest
from django.db import IntegrityError, connection, models
from django.db.models.deletion import ProtectedError
from django.db.models.signals import post_delete, pre_delete
from django.utils import timezone
from django_q import clock
from django_q.models import Failure, Success, Task
from django_q.results import pruning, refusals
from django_q.results.database import DatabaseResults
from django_q.results.pruning import Pruner

pytestmark = pytest.mark.django_db


def kept() -> list[object]:
    return sorted(Success.objects.values_list("result", flat=True))


@pytest.fixture
def save(settings_of):
    """Save outcomes and prune nothing."""
    results = DatabaseResults(settings_of())
    return lambda *outcomes: results.save_many(outcomes)


@pytest.fixture
def pruner_of(settings_of):
    return lambda **keys: Pruner(settings_of(**keys))


@pytest.fixture(autouse=True)
def nothing_refused():
    refusals.refusals_of.cache_clear()


@pytest.fixture(autouse=True)
def time_enough(monkeypatch):
    """Let one step delete all rows, even on a slow machine."""
    monkeypatch.setattr(pruning, "MAX_SECONDS", 60)


@pytest.fixture
def receiver():
    """Connect receivers, until the test ends."""
    connected = []

    def connect(signal, receive, **more: object) -> None:
        signal.connect(receive, weak=False, **more)
        connected.append((signal, receive, more.get("sender")))

    yield connect
    for signal, receive, sender in connected:
        signal.disconnect(receive, sender=sender)


@pytest.fixture(params=["in one statement", "one by one"])
def way(request, receiver):
    """Both ways of deletion; the second one is used for projects with receivers."""
    if request.param == "one by one":
        receiver(post_delete, lambda **kwargs: None)


def test_newest_successes_remain(way, pruner_of, save, outcome) -> None:
    save(*(outcome(number) for number in range(5)))
    assert pruner_of(save_limit=3).prune() is False
    assert kept() == [2, 3, 4]


def test_order_of_saving_makes_no_difference(way, pruner_of, save, outcome) -> None:
    late = outcome("late")
    save(outcome(1), outcome(2))
    save(late)
    pruner_of(save_limit=2).prune()
    assert kept() == [1, 2]


@pytest.mark.parametrize("limit", [3, 4, 0, -1])
def test_nothing_beyond_the_limit_is_left_alone(pruner_of, save, outcome, limit) -> None:
    save(outcome(1), outcome(2), outcome(3))
    assert pruner_of(save_limit=limit).prune() is False
    assert kept() == [1, 2, 3]


def test_limit_of_one_keeps_the_newest(way, pruner_of, save, outcome) -> None:
    save(*(outcome(number) for number in range(3)))
    pruner_of(save_limit=1).prune()
    assert kept() == [2]


def test_failures_are_never_pruned(way, pruner_of, save, outcome) -> None:
    save(*(outcome(success=False) for _ in range(5)), *(outcome(n) for n in range(5)))
    pruner_of(save_limit=1).prune()
    assert Failure.objects.count() == 5
    assert kept() == [4]


def test_successes_of_one_moment_are_kept_by_their_id(way, pruner_of, save, outcome) -> None:
    first = outcome()
    twins = [first._replace(id=f"{number:032}") for number in range(9)]
    save(outcome(stopped=first.stopped.replace(year=2090)), *twins)
    pruner_of(save_limit=4).prune()
    assert set(Success.objects.filter(stopped=first.stopped).values_list("id", flat=True)) == {
        f"{number:032}" for number in (6, 7, 8)
    }


def test_large_surplus_goes_in_steps_from_the_oldest(way, pruner_of, save, outcome, monkeypatch) -> None:
    """The deletion of a million rows takes seconds, during which SQLite saves nothing."""
    monkeypatch.setattr(pruning, "MAX_ROWS", 20)
    save(*(outcome(number) for number in range(105)))
    pruner, left = pruner_of(save_limit=5), []
    while pruner.prune():
        left.append(len(kept()))
    assert left[:4] == [85, 65, 45, 25]
    assert kept() == [100, 101, 102, 103, 104]


def test_large_surplus_of_one_moment_goes_in_steps(way, pruner_of, save, outcome, monkeypatch) -> None:
    monkeypatch.setattr(pruning, "MAX_ROWS", 20)
    first = outcome()
    save(*(first._replace(id=f"{number:032}") for number in range(100)))
    pruner = pruner_of(save_limit=5)
    pruner.prune()
    assert Success.objects.count() == 80
    while pruner.prune():
        pass
    assert set(Success.objects.values_list("id", flat=True)) == {f"{number:032}" for number in range(95, 100)}


def test_pruning_is_three_statements_and_a_look_is_one(pruner_of, save, outcome, django_assert_num_queries) -> None:
    pruner = pruner_of(save_limit=2)
    save(*(outcome(number) for number in range(50)))
    with django_assert_num_queries(3 + 2):  # and the savepoint within the test's transaction
        pruner.prune()
    with django_assert_num_queries(1):
        pruner.prune()


# with save_limit_per


@pytest.mark.parametrize("per", ["group", "name", "func"])
def test_limit_holds_for_each_label(way, pruner_of, save, outcome, per) -> None:
    pruner = pruner_of(save_limit=2, save_limit_per=per)
    save(*(outcome(f"{label}{number}", **{per: label}) for label in "ab" for number in range(4)))
    pruner.prune()
    assert kept() == ["a2", "a3", "b2", "b3"]
    save(outcome("a4", **{per: "a"}))
    pruner.prune()
    assert kept() == ["a3", "a4", "b2", "b3"]


def test_successes_without_a_group_are_a_group(pruner_of, save, outcome) -> None:
    save(outcome(1), outcome(2), outcome(3, group="g"), outcome(4, group="g"))
    pruner_of(save_limit=1, save_limit_per="group").prune()
    assert kept() == [2, 4]


def test_thousands_of_labels_are_pruned(pruner_of, save, outcome) -> None:
    save(*(outcome(number, group=f"g{number // 2}") for number in range(4000)))
    pruner_of(save_limit=1, save_limit_per="group").prune()
    assert kept() == list(range(1, 4000, 2))


def test_large_surplus_of_labels_goes_in_steps(pruner_of, save, outcome, monkeypatch) -> None:
    monkeypatch.setattr(pruning, "MAX_ROWS", 20)
    save(*(outcome(number, group=f"g{number % 3}") for number in range(90)))
    pruner, steps = pruner_of(save_limit=5, save_limit_per="group"), 0
    while pruner.prune():
        steps += 1
    assert steps == 3
    assert kept() == list(range(75, 90))


def test_labels_without_a_new_success_are_rarely_checked(pruner_of, save, outcome, monkeypatch) -> None:
    monkeypatch.setattr(pruning.Throttle, "PAUSE_FACTOR", 1e12)
    pruner = pruner_of(save_limit=1, save_limit_per="group")
    pruner.prune()
    now = timezone.now()
    save(*(outcome(f"old{n}", group="old", stopped=now - timedelta(days=1, seconds=-n)) for n in range(2)))
    save(*(outcome(f"new{n}", group="new", stopped=now + timedelta(seconds=n)) for n in range(2)))
    pruner.prune()
    assert kept() == ["new1", "old0", "old1"]
    pruner._full_scan = pruning.Throttle()
    pruner.prune()
    assert kept() == ["new1", "old1"]


# receivers and foreign keys


def test_pruned_tasks_are_not_unpickled(pruner_of, save, outcome, receiver) -> None:
    deleted = []
    receiver(post_delete, lambda instance, **more: deleted.append(instance.get_deferred_fields()))
    save(outcome(1), outcome(2))
    pruner_of(save_limit=1).prune()
    assert deleted == [{"args", "kwargs", "result"}]


@pytest.mark.parametrize("signal", [pre_delete, post_delete])
@pytest.mark.parametrize(
    "error", [ValueError("no such index"), SystemExit(1), ProtectedError("a report needs it", set())]
)
def test_undeletable_success_is_skipped_and_logged_once(
    pruner_of, save, outcome, receiver, caplog, signal, error
) -> None:
    def audit(instance: Task, **more: object) -> None:
        if instance.name == "protected":
            raise error

    receiver(signal, audit)
    save(outcome(0), outcome(1, name="protected"), outcome(2), outcome(3))
    pruner = pruner_of(save_limit=1)
    for number in range(4, 8):
        assert pruner.prune() is False
        assert kept() == [1, number - 1]
        save(outcome(number))
    assert caplog.text.count("cannot be deleted") == 1
    assert type(error).__name__ in caplog.text


def test_protected_success_is_tried_again_after_an_hour(pruner_of, save, outcome, receiver, monkeypatch) -> None:
    protected = [True]

    def audit(**more: object) -> None:
        if protected:
            raise ValueError

    receiver(post_delete, audit)
    save(outcome(1), outcome(2))
    pruner = pruner_of(save_limit=1)
    pruner.prune()
    protected.clear()
    pruner.prune()
    assert kept() == [1, 2]
    later = clock.monotonic() + refusals.RETRY_SECONDS
    monkeypatch.setattr(clock, "monotonic", lambda: later)
    pruner.prune()
    assert kept() == [2]


def test_unmanaged_foreign_key_protects_only_its_success(pruner_of, save, outcome, monkeypatch) -> None:
    """With `DO_NOTHING`, the database rejects the single statement."""

    def refused(self) -> None:
        raise IntegrityError("FOREIGN KEY constraint failed")

    monkeypatch.setattr(models.QuerySet, "delete", refused)
    save(*(outcome(number) for number in range(5)))
    pruner_of(save_limit=2).prune()
    assert kept() == [3, 4]


def test_deleting_one_by_one_ends_in_time(pruner_of, save, outcome, receiver, monkeypatch) -> None:
    receiver(post_delete, lambda **more: seconds.append(seconds[-1] + 0.2))
    seconds = [clock.monotonic()]
    monkeypatch.setattr(clock, "monotonic", lambda: seconds[-1])
    monkeypatch.setattr(pruning, "MAX_SECONDS", 0.5)
    save(*(outcome(number) for number in range(9)))
    pruner = pruner_of(save_limit=1)
    assert pruner.prune() is True
    assert len(kept()) == 6
    while pruner.prune():
        pass
    assert kept() == [8]


# without a cluster


def test_sync_mode_keeps_the_limit(settings_of, outcome, receiver) -> None:
    receiver(post_delete, lambda **more: None)
    results = DatabaseResults(settings_of(save_limit=3))
    for number in range(6):
        outcomes = [outcome(number)]
        results.save_many(outcomes)
        results.prune_after(outcomes)
    assert kept() == [3, 4, 5]


def test_sync_mode_keeps_the_limit_of_the_label(settings_of, outcome) -> None:
    results = DatabaseResults(settings_of(save_limit=1, save_limit_per="group"))
    for number in range(6):
        outcomes = [outcome(number, group=["a", None][number % 2])]
        results.save_many(outcomes)
        results.prune_after(outcomes)
    assert kept() == [4, 5]


def test_pruning_that_fails_in_sync_mode_fails_no_task(settings_of, outcome, monkeypatch, caplog) -> None:
    results = DatabaseResults(settings_of(save_limit=1))
    results.save_many([outcome(1)])

    def fail(*args: object) -> None:
        with connection.cursor() as cursor:
            cursor.execute("SELECT nothing FROM nowhere")

    monkeypatch.setattr(pruning, "oldest_beyond", fail)
    results.prune_after([outcome(1)])
    assert kept() == [1]
    assert "retrying after the next task" in caplog.text


def test_pruning_leaves_the_query_machinery_alone(pruner_of, save, outcome, monkeypatch):
    """Loading it would copy memory that the scheduler shares with its cluster (copy-on-write)."""
    save(outcome(id="old"), outcome(id="new"))
    with monkeypatch.context() as patch:
        patch.setattr(models.QuerySet, "_fetch_all", None)
        patch.setattr(models.QuerySet, "delete", None)
        pruner_of(save_limit=1).prune()
    assert Success.objects.count() == 1
