"""After each batch the newest `save_limit` successes remain, exactly."""

from __future__ import annotations

import pytest
from django.db.models.signals import post_delete
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


@pytest.mark.parametrize("heard", [False, True])
def test_successes_of_one_moment_are_kept_by_their_id(settings_of, outcome, heard, request) -> None:
    if heard:  # then Django deletes, and tells

        def receiver(**kwargs: object) -> None:
            return

        post_delete.connect(receiver)
        request.addfinalizer(lambda: post_delete.disconnect(receiver))
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
