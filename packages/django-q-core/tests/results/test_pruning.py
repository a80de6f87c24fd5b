"""After each batch the newest `save_limit` successes remain, exactly, unless there are far too many."""

from __future__ import annotations

from datetime import timedelta

import pytest
from django.db import OperationalError, connection
from django.db.models.signals import post_delete
from django_q.clock import Seldom
from django_q.models import Failure, Success
from django_q.results import pruning
from django_q.results.database import DatabaseResults

pytestmark = pytest.mark.django_db


def kept() -> list[object]:
    return sorted(Success.objects.values_list("result", flat=True))


def test_newest_successes_remain(settings_of, outcome) -> None:
    results = DatabaseResults(settings_of(save_limit=3))
    results.save_many([outcome(number) for number in range(5)])
    assert kept() == [2, 3, 4]
    results.save_many([outcome(5)])
    assert kept() == [3, 4, 5]


def test_fewer_than_the_limit_remain(settings_of, outcome) -> None:
    DatabaseResults(settings_of(save_limit=3)).save_many([outcome(1), outcome(2), outcome(3)])
    assert kept() == [1, 2, 3]


def test_lowered_limit_holds_after_the_next_batch(settings_of, outcome) -> None:
    DatabaseResults(settings_of(save_limit=50)).save_many([outcome(number) for number in range(50)])
    DatabaseResults(settings_of(save_limit=2)).save_many([outcome(50)])
    assert kept() == [49, 50]


@pytest.fixture(params=["by hand", "as Django does"])
def way(request):
    """Each way of deleting; the second is taken where a project listens."""
    if request.param == "by hand":
        yield
        return

    def receiver(**kwargs: object) -> None:
        return

    post_delete.connect(receiver)
    yield
    post_delete.disconnect(receiver)


@pytest.mark.usefixtures("way")
def test_large_surplus_goes_in_portions(settings_of, outcome, monkeypatch) -> None:
    """To delete a million at once takes seconds, in which nothing is saved."""
    monkeypatch.setattr(pruning, "PORTION", 20)
    DatabaseResults(settings_of(save_limit=0)).save_many([outcome(number) for number in range(100)])
    results = DatabaseResults(settings_of(save_limit=5))
    results.save_many([outcome(100 + number) for number in range(10)])
    assert kept() == [*range(85), *range(105, 110)]
    results.save_many([outcome(110 + number) for number in range(10)])
    assert kept() == [*range(84), *range(115, 120)]  # as many as were saved and one
    assert results.pruner.more


@pytest.mark.usefixtures("way")
def test_rest_of_a_large_surplus_goes_at_rest(settings_of, outcome, monkeypatch) -> None:
    monkeypatch.setattr(pruning, "PORTION", 20)
    DatabaseResults(settings_of(save_limit=0)).save_many([outcome(number) for number in range(100)])
    results = DatabaseResults(settings_of(save_limit=5))
    results.save_many([outcome(100)])
    counts = [len(kept())]
    while results.pruner.more:
        results.prune_more()
        counts.append(len(kept()))
    assert counts == [81, 61, 41, 21, 5]
    assert kept() == [96, 97, 98, 99, 100]


@pytest.mark.usefixtures("way")
def test_large_surplus_of_one_moment_goes_too(settings_of, outcome, monkeypatch) -> None:
    monkeypatch.setattr(pruning, "PORTION", 20)
    first = outcome()
    twins = [first._replace(id=f"{number:032}") for number in range(100)]
    DatabaseResults(settings_of(save_limit=0)).save_many(twins)
    results = DatabaseResults(settings_of(save_limit=5))
    results.save_many([outcome(stopped=first.stopped.replace(year=2090))])
    assert Success.objects.count() == 5
    assert not results.pruner.more


def test_surplus_that_cannot_be_deleted_is_left_to_the_next_batch(settings_of, outcome, monkeypatch, caplog) -> None:
    results = DatabaseResults(settings_of(save_limit=1))
    results.pruner.more = True

    def fails(*arguments: object) -> bool:
        raise OperationalError

    monkeypatch.setattr(pruning, "keep_newest", fails)
    results.prune_more()
    assert not results.pruner.more
    assert "were not deleted" in caplog.text


def test_limit_of_one_keeps_one(settings_of, outcome) -> None:
    results = DatabaseResults(settings_of(save_limit=1))
    for number in range(3):
        results.save_many([outcome(number)])
    assert kept() == [2]


def test_zero_keeps_all(settings_of, outcome) -> None:
    DatabaseResults(settings_of(save_limit=0)).save_many([outcome(number) for number in range(300)])
    assert len(kept()) == 300


def test_failures_are_never_pruned(settings_of, outcome) -> None:
    results = DatabaseResults(settings_of(save_limit=1))
    results.save_many([*(outcome(success=False) for _ in range(5)), *(outcome(n) for n in range(5))])
    assert Failure.objects.count() == 5
    assert kept() == [4]


@pytest.mark.usefixtures("way")
def test_successes_of_one_moment_are_kept_by_their_id(settings_of, outcome) -> None:
    first = outcome()
    twins = [first._replace(id=f"{number:032}") for number in range(9)]
    DatabaseResults(settings_of(save_limit=4)).save_many([outcome(stopped=first.stopped.replace(year=2090)), *twins])
    assert set(Success.objects.filter(stopped=first.stopped).values_list("id", flat=True)) == {
        f"{number:032}" for number in (6, 7, 8)
    }


def test_usual_pruning_leaves_the_query_machinery_alone(settings_of, outcome, monkeypatch) -> None:
    """Its memory would be the monitor's own from then on, and not the cluster's."""

    def touched(using: str) -> None:
        raise AssertionError

    monkeypatch.setattr(pruning, "successes_in", touched)
    first = outcome()
    results = DatabaseResults(settings_of(save_limit=2))
    results.save_many([first._replace(id=f"{number:032}") for number in range(9)])
    results.save_many([outcome()])
    assert Success.objects.count() == 2


def test_late_outcome_older_than_all_that_is_kept_goes(settings_of, outcome) -> None:
    late = outcome("late")
    results = DatabaseResults(settings_of(save_limit=2))
    results.save_many([outcome(1), outcome(2)])
    results.save_many([late])
    assert kept() == [1, 2]


@pytest.mark.parametrize("per", ["group", "name", "func"])
def test_limit_holds_for_each_label(settings_of, outcome, per) -> None:
    results = DatabaseResults(settings_of(save_limit=2, save_limit_per=per))
    results.save_many([outcome(f"{label}{number}", **{per: label}) for label in "ab" for number in range(4)])
    assert kept() == ["a2", "a3", "b2", "b3"]
    results.save_many([outcome("a4", **{per: "a"})])
    assert kept() == ["a3", "a4", "b2", "b3"]


def test_successes_without_a_group_are_a_group(settings_of, outcome) -> None:
    results = DatabaseResults(settings_of(save_limit=1, save_limit_per="group"))
    results.save_many([outcome(1), outcome(2), outcome(3, group="g"), outcome(4, group="g")])
    assert kept() == [2, 4]


def test_pruned_tasks_are_not_unpickled(settings_of, outcome) -> None:
    deleted = []

    def receiver(instance, **kwargs: object) -> None:
        deleted.append(instance.get_deferred_fields())

    post_delete.connect(receiver)
    try:
        DatabaseResults(settings_of(save_limit=1)).save_many([outcome(1), outcome(2)])
    finally:
        post_delete.disconnect(receiver)
    assert deleted == [{"args", "kwargs", "result"}]


def test_look_at_the_latest_leaves_what_is_older(settings_of, outcome) -> None:
    results = DatabaseResults(settings_of(save_limit=0))
    outcomes = [outcome(number) for number in range(9)]
    results.save_many(outcomes)
    (_more, border) = pruning.keep_newest(6, "default")
    results.save_many([outcomes[0]])
    pruned = pruning.keep_newest(3, "default", since=border)
    assert kept() == [0, 6, 7, 8]
    assert not pruned.more


@pytest.fixture
def whole_looks(monkeypatch) -> list[object]:
    """Whether each look was at all successes, where only the first one is, because it took so long."""
    monkeypatch.setattr(Seldom, "PAUSE", 1e9)
    looks: list[object] = []
    keep_newest = pruning.keep_newest

    def look(*arguments: object, since: object = None) -> pruning.Pruned:
        looks.append(since is None)
        return keep_newest(*arguments, since=since)

    monkeypatch.setattr(pruning, "keep_newest", look)
    return looks


def test_newest_successes_remain_where_only_the_latest_are_looked_at(settings_of, outcome, whole_looks) -> None:
    results = DatabaseResults(settings_of(save_limit=3))
    for number in range(0, 20, 4):
        results.save_many([outcome(number + each) for each in range(4)])
        assert kept() == [number + 1, number + 2, number + 3]
    assert whole_looks == [True, *[connection.vendor != "postgresql"] * 4]  # the others keep no deleted rows


def test_success_that_is_late_does_not_remain_where_only_the_latest_are_looked_at(
    settings_of, outcome, whole_looks
) -> None:
    results = DatabaseResults(settings_of(save_limit=2))
    results.save_many([outcome(number) for number in range(4)])
    late = outcome(4)
    results.save_many([late._replace(stopped=late.stopped - timedelta(hours=1)), outcome(5)])
    assert kept() == [3, 5]
    assert len(whole_looks) == 2
