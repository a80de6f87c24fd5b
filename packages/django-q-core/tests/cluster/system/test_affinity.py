from __future__ import annotations

import os
import sys

import pytest
from django_q.cluster.system.affinity import available_cpus, cpu_windows, pin


@pytest.mark.parametrize(
    ("cpus", "workers", "affinity", "windows"),
    [
        (4, 4, 1, [[0], [1], [2], [3]]),
        (4, 4, 2, [[0, 1], [2, 3], [0, 1], [2, 3]]),
        (8, 8, 3, [[0, 1, 2], [3, 4, 5], [6, 7, 0], [1, 2, 3], [4, 5, 6], [7, 0, 1], [2, 3, 4], [5, 6, 7]]),
    ],
)
def test_windows_are_those_of_the_manual(cpus: int, workers: int, affinity: int, windows: list[list[int]]) -> None:
    assert cpu_windows(workers, cpus, affinity) == windows


@pytest.mark.parametrize("affinity", [0, 4, 5])
def test_affinity_of_all_processors_has_no_effect(affinity: int) -> None:
    assert cpu_windows(2, 4, affinity) == [[0, 1, 2, 3]] * 2


@pytest.mark.skipif(sys.platform != "linux", reason="only Linux binds processes")
def test_worker_is_bound_to_its_window(monkeypatch: pytest.MonkeyPatch) -> None:
    bound: list[list[int]] = []
    monkeypatch.setattr(os, "sched_getaffinity", lambda pid: {2, 5, 7})
    monkeypatch.setattr(os, "sched_setaffinity", lambda pid, cpus: bound.append(cpus))
    assert [pin(index, 2) for index in range(2)] == bound == [[2, 5], [7, 2]]


def test_worker_with_all_processors_is_not_bound() -> None:
    assert pin(0, len(available_cpus())) == []
