"""Figures of workers that run: how each is taken."""

from __future__ import annotations

import time
from typing import TYPE_CHECKING

from . import body, peers
from .children import run

if TYPE_CHECKING:
    from collections.abc import Sequence

    from .body import Record
    from .children import Figures
    from .servers import Servers
    from .trial import Trial
    from .workers import Workers

TRIAL_SECONDS = 300
"""Seconds that all tasks of a trial may take."""

PACE = 50
"""Tasks a second where latency is measured: the workers have time to fall asleep in between."""


def drain(workers: Workers) -> Figures:
    """Drain rate."""
    trial = workers.place.trial
    awaited = trial.measured or trial.tasks
    workers.wait_for(1, TRIAL_SECONDS)
    start, early = workers.family.cpu(), body.count(workers.place.records)
    workers.wait_for(awaited, TRIAL_SECONDS)
    records = body.read(workers.place.records)[:awaited]
    figures: Figures = {"executed": len({record.index for record in records}), "drain_per_s": drain_rate(records)}
    figures |= {"twice": len(records) - figures["executed"], "start_s": round(records[0].ran - workers.began, 2)}
    if awaited == trial.tasks:
        figures["settled_per_s"] = round(awaited / (workers.settle() - records[0].ran))
        spent = workers.family.cpu()
        figures["worker_cpu_us"] = round(spent / awaited * 1e6)
        figures["task_cpu_us"] = round((spent - start) / max(awaited - early, 1) * 1e6)
    return figures


def memory(workers: Workers) -> Figures:
    """Number and memory of the processes."""
    return {"procs": len(workers.family.members()), "pss_mb": round(workers.family.pss(), 1)}


def idle(workers: Workers, servers: Servers, seconds: float) -> Figures:
    """Cost of idle workers."""
    trial = workers.place.trial
    with servers.logged_statements(trial):
        time.sleep(1)
        before = _costs(workers, servers, trial)
        time.sleep(seconds)
        after = _costs(workers, servers, trial)
    spent = {name: (cost - before[name]) / seconds for name, cost in after.items()}
    return {name: round(cost, 2) for name, cost in spent.items()}


def latency(workers: Workers, count: int) -> Figures:
    """Latency of idle workers, from the call to the execution."""
    records = workers.place.records
    skip = body.count(records)
    run(workers.place, "pace", PACE, count / PACE)
    workers.wait_for(skip + count, TRIAL_SECONDS)
    waits = sorted((record.ran - record.sent) * 1000 for record in body.read(records, skip))
    return {f"p{share}_ms": round(waits[len(waits) * share // 100], 2) for share in (50, 95, 99)}


def drain_rate(records: Sequence[Record]) -> float:
    """Tasks a second without the first tenth, in which the last worker is still being started."""
    first = max(len(records) // 10, 1) - 1
    return round((len(records) - 1 - first) / (records[-1].ran - records[first].ran), 1)


def _costs(workers: Workers, servers: Servers, trial: Trial) -> Figures:
    needed = peers.servers(trial)
    costs = {"idle_cpu_pct": workers.family.cpu() * 100}
    if "redis" in needed:
        costs["idle_redis_ops_s"] = servers.redis_commands()
    if "postgres" in needed:
        costs["idle_sql_s"] = servers.statements()
    return costs
