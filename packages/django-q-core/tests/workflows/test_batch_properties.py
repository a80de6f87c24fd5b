"""A batch is completed once and correctly, for any deliveries, duplicates, orders and batches."""

from __future__ import annotations

import pytest
from django.db import transaction
from django_q.models import Batch, BatchMember, Task
from django_q.settings import ClusterSettings
from django_q.wire.ids import new_id
from django_q.wire.outcome import encode
from django_q.workflows.batches import BatchResults
from hypothesis import given, settings
from hypothesis import strategies as st

from ..conftest import member  # noqa: TID252 - there is no absolute name

pytestmark = pytest.mark.django_db

TOTAL = 4

SUCCESS, FAILURE, AGAIN = "success", "failure", "failure that is tried again"

attempts = st.tuples(st.integers(0, TOTAL - 1), st.sampled_from([SUCCESS, FAILURE, AGAIN]))
portions = st.lists(st.lists(attempts, min_size=1, max_size=4), max_size=12)


def count(members: dict[int, str], portion) -> None:
    """Count final attempts, with a success in place of a failure."""
    for index, kind in portion:
        if kind == SUCCESS or (kind == FAILURE and index not in members):
            members[index] = kind


@settings(max_examples=60)
@given(portions=portions)
def test_batch_is_completed_once_with_the_right_members(portions):
    results = BatchResults(ClusterSettings.from_mapping({"name": "test"}), "test")
    iter_id, members = new_id(), {}
    with transaction.atomic():
        for portion in portions:
            was_complete = len(members) == TOTAL
            if not was_complete:
                count(members, portion)
            outcomes = [member(iter_id, index, TOTAL, kind, success=kind == SUCCESS) for index, kind in portion]
            results.save_many(outcomes, lambda outcome: outcome.result != encode(AGAIN))
            assert len(results.take_completed()) == (len(members) == TOTAL and not was_complete)
            successes = sum(kind == SUCCESS for kind in members.values())
            assert Batch.objects.values_list("done", "failed").get() == (successes, len(members) - successes)
        assert Task.objects.exists() is (len(members) == TOTAL)
        if len(members) == TOTAL:
            assert Task.objects.get().result == [members[index] for index in range(TOTAL)]
            assert not BatchMember.objects.exclude(result=None).exists()
            assert BatchMember.objects.exists() is (FAILURE in members.values())
        transaction.set_rollback(True)
