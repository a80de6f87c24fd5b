"""The bench itself, in small: it works on the day it is wanted."""

from __future__ import annotations

from typing import TYPE_CHECKING

import pytest

from tests.services import Unavailable
from tests.services.fixtures import missing

from .run import measure
from .servers import Servers
from .trial import Trial

if TYPE_CHECKING:
    from collections.abc import Iterator

FIGURES = {
    *("enqueue_per_s", "enqueue_cpu_us", "drain_per_s", "settled_per_s", "worker_cpu_us", "task_cpu_us"),
    *("p50_ms", "p95_ms", "p99_ms", "procs", "pss_mb", "idle_cpu_pct", "idle_redis_ops_s"),
    *("executed", "twice", "start_s", "stop"),
}


@pytest.fixture(scope="module")
def servers() -> Iterator[Servers]:
    with Servers() as servers:
        try:
            assert servers.redis.running
        except (ImportError, Unavailable) as error:
            missing("redis", error)
        yield servers


def test_whole_trial_is_measured(servers: Servers) -> None:
    figures = measure(servers, Trial(tasks=200), seconds=0.5, paced=10)
    assert figures.keys() == FIGURES
    assert (figures["executed"], figures["twice"], figures["stop"]) == (200, 0, "ended")
    # The processor time of so few tasks may be over before it is first looked at.
    may_be_nothing = {"twice", "stop", "idle_cpu_pct", "idle_redis_ops_s", "task_cpu_us"}
    assert all(figures[name] > 0 for name in FIGURES - may_be_nothing)
    assert figures["p50_ms"] <= figures["p95_ms"] <= figures["p99_ms"]
