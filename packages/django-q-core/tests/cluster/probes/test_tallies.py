"""Shared memory of the counts, in several processes."""

from __future__ import annotations

from multiprocessing import get_context

import pytest
from django_q.cluster.metrics.tallies import Tallies


def count_in_process(tallies: Tallies) -> None:
    """Count in a process that ends at once."""
    tallies.finished("math.floor", "success", 0.1, None)


@pytest.mark.parametrize("method", ["fork", "spawn"])
def test_counts_survive_the_process_that_wrote_them(method):
    tallies = Tallies(1)
    for _ in range(2):
        process = get_context(method).Process(target=count_in_process, args=(tallies,))
        process.start()
        process.join()
        assert process.exitcode == 0
    (tally,) = tallies.functions()[1:]
    assert (tally.function, tally.outcomes["success"]) == ("math.floor", 2)
