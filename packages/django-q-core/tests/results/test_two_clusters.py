"""Two clusters save concurrently: each task once, with all attempts counted, and without surplus successes."""

from __future__ import annotations

from concurrent.futures import ThreadPoolExecutor
from threading import Barrier
from typing import TYPE_CHECKING

import pytest
from django.db import connection
from django_q.models import Success, Task
from django_q.results.database import DatabaseResults

if TYPE_CHECKING:
    from collections.abc import Callable, Sequence

    from django_q.settings import ClusterSettings
    from django_q.wire.outcome import Outcome

pytestmark = pytest.mark.django_db(transaction=True)

CLUSTERS = 3


def at_once(work: Callable[[int], object]) -> None:
    """Run a function in several clusters, each with its own connection, starting together."""
    barrier = Barrier(CLUSTERS)

    def run(cluster: int) -> None:
        barrier.wait(30)
        try:
            work(cluster)
        finally:
            connection.close()

    with ThreadPoolExecutor(CLUSTERS) as pool:
        list(pool.map(run, range(CLUSTERS)))


def save_and_prune(settings: ClusterSettings, batches: Sequence[Sequence[Outcome]]) -> None:
    """Save and prune like a monitor and the maintenance of its cluster."""
    results = DatabaseResults(settings)
    for batch in batches:
        results.save_many(batch)
        results.prune_after(batch)


def test_successes_beyond_the_limit_are_gone_when_all_rest(settings_of, outcome) -> None:
    results = DatabaseResults(settings_of(save_limit=40))
    batches = [[[outcome(number) for number in range(25)] for _ in range(8)] for _ in range(CLUSTERS)]
    at_once(lambda cluster: save_and_prune(results.settings, batches[cluster]))
    results.prune_after(batches[0][0])
    newest = sorted((each for some in batches for batch in some for each in batch), key=lambda each: each.stopped)
    assert set(Success.objects.values_list("id", flat=True)) == {each.id for each in newest[-40:]}


@pytest.mark.parametrize("per", ["group", "func"])
def test_limit_of_each_label_holds_when_all_rest(settings_of, outcome, per) -> None:
    results = DatabaseResults(settings_of(save_limit=7, save_limit_per=per))
    batches = [
        [[outcome(**{per: f"l{number % 3}"}) for number in range(20)] for _ in range(6)] for _ in range(CLUSTERS)
    ]
    at_once(lambda cluster: save_and_prune(results.settings, batches[cluster]))
    results.prune_after(batches[0][0])
    assert [Success.objects.filter(**{per: f"l{label}"}).count() for label in range(3)] == [7, 7, 7]


def test_tasks_that_all_of_them_ran_are_saved_once(settings_of, outcome) -> None:
    results = DatabaseResults(settings_of(save_limit=0))
    tasks = [outcome("oh", success=False).id for _ in range(30)]
    batches = [
        [[outcome("oh", id=task_id, success=False, attempt=2 * cluster + step) for task_id in tasks] for step in (1, 2)]
        for cluster in range(CLUSTERS)
    ]
    at_once(lambda cluster: [results.save_many(batch) for batch in batches[cluster]])
    assert Task.objects.count() == 30
    assert set(Task.objects.values_list("attempt_count", flat=True)) == {2 * CLUSTERS}


def test_success_of_one_survives_the_failures_of_the_others(settings_of, outcome) -> None:
    results = DatabaseResults(settings_of(save_limit=0))
    tasks = [outcome().id for _ in range(30)]
    batches = [
        [outcome(cluster, id=task_id, success=cluster == 1, attempt=cluster + 1) for task_id in tasks]
        for cluster in range(CLUSTERS)
    ]
    at_once(lambda cluster: results.save_many(batches[cluster]))
    assert set(Task.objects.values_list("result", "success", "attempt_count")) == {(1, True, CLUSTERS)}
