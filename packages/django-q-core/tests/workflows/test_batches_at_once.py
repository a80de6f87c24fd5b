"""Several clusters save members of the same batches at the same time: each batch is completed once."""

from __future__ import annotations

from collections import Counter
from random import Random

import pytest
from django.utils import timezone
from django_q.models import Batch, BatchMember, Task
from django_q.tasks import result
from django_q.wire.ids import new_id
from django_q.workflows.batches import BatchResults

from ..results.test_two_clusters import CLUSTERS, at_once  # noqa: TID252 - there is no absolute name

pytestmark = pytest.mark.django_db(transaction=True)

ITERS, MEMBERS = 6, 20


@pytest.fixture
def clusters(settings_of):
    return [BatchResults(settings_of(name="test"), "test") for _ in range(CLUSTERS)]


def completed_by(clusters) -> Counter[str]:
    return Counter(outcome.id for cluster in clusters for outcome in cluster.take_completed())


@pytest.mark.parametrize("duplicates", [False, True], ids=["each member once", "each member delivered to all"])
def test_concurrent_saves_complete_each_batch_once(clusters, member, duplicates):
    ids = [new_id() for _ in range(ITERS)]
    members = [member(iter_id, index, MEMBERS, index) for index in range(MEMBERS) for iter_id in ids]

    def work(cluster: int) -> None:
        mine = list(members) if duplicates else members[cluster::CLUSTERS]
        Random(cluster).shuffle(mine)
        for start in range(0, len(mine), 7):
            clusters[cluster].save_many(mine[start : start + 7], lambda _: True)

    at_once(work)
    assert completed_by(clusters) == dict.fromkeys(ids, 1)
    assert all(result(iter_id) == list(range(MEMBERS)) for iter_id in ids)
    assert set(Batch.objects.values_list("done", "failed")) == {(MEMBERS, 0)}
    assert not BatchMember.objects.exists()


def test_batch_whose_members_end_at_once_is_completed_once(clusters, member):
    ids = [new_id() for _ in range(10)]
    at_once(lambda cluster: [clusters[cluster].save_many([member(each, 0, 1, 1)], lambda _: True) for each in ids])
    assert completed_by(clusters) == dict.fromkeys(ids, 1)
    assert set(Task.objects.values_list("attempt_count", flat=True)) == {1}


def test_last_member_and_batch_timeout_complete_a_batch_once(clusters, member):
    ids = [new_id() for _ in range(10)]
    clusters[0].save_many([member(iter_id, 0, 2, 0) for iter_id in ids], lambda _: True)
    now = timezone.now()
    Batch.objects.update(due=now)

    def work(cluster: int) -> None:
        for iter_id in ids:
            if cluster:
                clusters[cluster].close([iter_id], now)
            else:
                clusters[0].save_many([member(iter_id, 1, 2, 1)], lambda _: True)

    at_once(work)
    assert completed_by(clusters) == dict.fromkeys(ids, 1)
    for batch in Batch.objects.all():
        assert batch.done + batch.failed == 2
        assert (result(batch.pk) == [0, 1]) is (batch.failed == 0)


def test_failures_and_their_successes_are_counted_exactly(clusters, member):
    iter_id = new_id()

    def work(cluster: int) -> None:
        results = [index if cluster == 1 else ValueError("no") for index in range(40)]
        mine = [member(iter_id, index, 41, each) for index, each in enumerate(results)]
        for start in range(0, 40, 5):
            clusters[cluster].save_many(mine[start : start + 5], lambda _: True)

    at_once(work)
    assert Batch.objects.values_list("done", "failed").get() == (40, 0)
    assert BatchMember.objects.filter(success=True).count() == 40
