"""Trials, each measured in one way."""

from __future__ import annotations

import subprocess
import time
from dataclasses import replace
from typing import TYPE_CHECKING

from . import body
from .children import filled, run
from .figures import TRIAL_SECONDS, drain, idle, latency, memory
from .workers import Workers

if TYPE_CHECKING:
    from .children import Figures
    from .servers import Servers
    from .trial import Trial


def enqueuing(servers: Servers, trial: Trial) -> Figures:
    """Enqueue, and nothing else."""
    with servers.place(trial) as place:
        run(place, "setup")
        return run(place, "send")


def draining(servers: Servers, trial: Trial) -> Figures:
    """Enqueue everything, then let the workers do it."""
    with filled(servers, trial) as (place, sent), Workers(place) as workers:
        return sent | drain(workers) | memory(workers)


def idling(servers: Servers, trial: Trial, seconds: float = 20) -> Figures:
    """Look at workers that have done all there was."""
    with filled(servers, trial) as (place, _), Workers(place) as workers:
        drain(workers)
        return idle(workers, servers, seconds)


def waking(servers: Servers, trial: Trial, count: int = 500) -> Figures:
    """Give idle workers one task after another."""
    with filled(servers, trial) as (place, _), Workers(place) as workers:
        drain(workers)
        return latency(workers, count)


def sleeping(servers: Servers, trial: Trial) -> Figures:
    """Let the workers do tasks that sleep: tasks a second, from the beginning of the first to the end of the last."""
    with filled(servers, trial) as (place, _), Workers(place) as workers:
        workers.wait_for(trial.tasks, TRIAL_SECONDS)
        records = body.read(place.records)
    return {"per_s": trial.tasks / (records[-1].ran - records[0].ran + trial.seconds)}


def starting(servers: Servers, trial: Trial) -> Figures:
    """Start our cluster for one task that waits already, and `check` of the same site."""
    from .peers import ours

    with filled(servers, trial) as (place, _):
        began = time.perf_counter()
        command = [*ours.worker(trial.workers)[:3], "check"]
        subprocess.run(command, env=place.environment(), capture_output=True, check=True)
        check = time.perf_counter() - began
        with Workers(place, ours.worker(trial.workers)) as workers:
            workers.wait_for(1, TRIAL_SECONDS)
            return {"check_s": check, "start_s": body.read(place.records)[0].ran - workers.began}


def flowing(servers: Servers, trial: Trial) -> Figures:
    """Enqueue while the workers work: megabytes of arguments a second, until all is settled."""
    with servers.place(trial) as place:
        run(place, "setup")
        with Workers(place) as workers:
            run(place, "pace", 20, 1)
            workers.wait_for(20, TRIAL_SECONDS)
            workers.settle()
            run(place, "send")
            workers.wait_for(20 + trial.tasks, TRIAL_SECONDS)
            settled = workers.settle()
        first = min(record.sent for record in body.read(place.records, skip=20))
        return {"mb_per_s": trial.tasks * trial.payload / 1e6 / (settled - first)}


KINDS = ("rss", "uss")
"""Of memory."""


def growing(servers: Servers, trial: Trial, more: int) -> Figures:
    """Compare each process after the trial's tasks with itself after `more`: the one that has grown most."""
    with filled(servers, trial) as (place, _), Workers(place) as workers:
        drain(workers)
        early = {kind: workers.family.memory(kind) for kind in KINDS}
        run(replace(place, trial=replace(trial, tasks=more)), "send")
        workers.wait_for(trial.tasks + more, TRIAL_SECONDS)
        workers.settle()
        late = {kind: workers.family.memory(kind) for kind in KINDS}
    figures = {}
    for kind in KINDS:
        before, after = early[kind], late[kind]
        grown = max(after, key=lambda pid: after[pid] / before[pid])
        figures |= {f"early_{kind}_mb": before[grown], f"late_{kind}_mb": after[grown]}
    return figures
