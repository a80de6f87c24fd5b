"""Figures of one trial: how they are taken."""

from __future__ import annotations

import itertools
import json
import subprocess
import time
from contextlib import contextmanager
from dataclasses import replace
from statistics import median
from typing import TYPE_CHECKING, Any, NamedTuple

from . import body, peers
from .workers import CHILD, Workers

if TYPE_CHECKING:
    from collections.abc import Iterator, Sequence

    from .body import Record
    from .servers import Servers
    from .trial import Place, Trial

Figures = dict[str, float]
"""By name; what a name means is in docs/explanation/performance.md."""

PATIENCE = 300
"""Seconds that all tasks of a trial may take."""

PACE = 50
"""Tasks a second where latency is measured: the workers have time to fall asleep in between."""


def enqueuing(servers: Servers, trial: Trial) -> Figures:
    """Enqueue, and nothing else."""
    with servers.place(trial) as place:
        child(place, "setup")
        return child(place, "send")


def draining(servers: Servers, trial: Trial) -> Figures:
    """Enqueue everything, then let the workers do it."""
    with _filled(servers, trial) as (place, sent), Workers(place) as workers:
        return sent | drain(workers) | memory(workers)


def idling(servers: Servers, trial: Trial, seconds: float = 20) -> Figures:
    """Look at workers that have done all there was."""
    with _filled(servers, trial) as (place, _), Workers(place) as workers:
        drain(workers)
        return idle(workers, servers, seconds)


def waking(servers: Servers, trial: Trial, count: int = 500) -> Figures:
    """Give idle workers one task after another."""
    with _filled(servers, trial) as (place, _), Workers(place) as workers:
        drain(workers)
        return latency(workers, count)


def sleeping(servers: Servers, trial: Trial) -> Figures:
    """Let the workers do tasks that sleep: tasks a second, from the beginning of the first to the end of the last."""
    with _filled(servers, trial) as (place, _), Workers(place) as workers:
        workers.wait_for(trial.tasks, PATIENCE)
        records = body.read(place.records)
    return {"per_s": trial.tasks / (records[-1].ran - records[0].ran + trial.seconds)}


def starting(servers: Servers, trial: Trial) -> Figures:
    """Start our cluster for one task that waits already, and `check` of the same site."""
    from .peers import ours

    with _filled(servers, trial) as (place, _):
        began = time.perf_counter()
        command = [*ours.worker(trial.workers)[:3], "check"]
        subprocess.run(command, env=place.environment(), capture_output=True, check=True)
        check = time.perf_counter() - began
        with Workers(place, ours.worker(trial.workers)) as workers:
            workers.wait_for(1, PATIENCE)
            return {"check_s": check, "start_s": body.read(place.records)[0].ran - workers.began}


def flowing(servers: Servers, trial: Trial) -> Figures:
    """Enqueue while the workers work: megabytes of arguments a second, until all is settled."""
    with servers.place(trial) as place:
        child(place, "setup")
        with Workers(place) as workers:
            child(place, "pace", 20, 1)
            workers.wait_for(20, PATIENCE)
            workers.settle()
            child(place, "send")
            workers.wait_for(20 + trial.tasks, PATIENCE)
            settled = workers.settle()
        first = min(record.sent for record in body.read(place.records, skip=20))
        return {"mb_per_s": trial.tasks * trial.payload / 1e6 / (settled - first)}


def growing(servers: Servers, trial: Trial, more: int) -> Figures:
    """Compare each process after the trial's tasks with itself after `more`: the one that has grown most."""
    with _filled(servers, trial) as (place, _), Workers(place) as workers:
        drain(workers)
        early = workers.family.uss()
        child(replace(place, trial=replace(trial, tasks=more)), "send")
        workers.wait_for(trial.tasks + more, PATIENCE)
        workers.settle()
        late = workers.family.uss()
    grown = max(late, key=lambda pid: late[pid] / early[pid])
    return {"early_mb": early[grown], "late_mb": late[grown]}


def pressing(servers: Servers, trial: Trial, rate: float, seconds: float) -> Figures:
    """Offer tasks at an even pace while three transactions of PostgreSQL stay open."""
    with servers.place(trial) as place:
        child(place, "setup")
        with _open_transactions(place, 3), Workers(place) as workers:
            child(place, "pace", rate, seconds)
            workers.wait_for(int(rate * seconds), PATIENCE)
        waiting = list(backlogs(body.read(place.records)))
    quarter = max(len(waiting) // 4, 1)
    return {"first_backlog": median(waiting[:quarter]), "last_backlog": median(waiting[-quarter:])}


# the parts


def drain(workers: Workers) -> Figures:
    """How fast all that waits is done."""
    trial = workers.place.trial
    awaited = trial.measured or trial.tasks
    workers.wait_for(1, PATIENCE)
    start, early = workers.family.cpu(), body.count(workers.place.records)
    workers.wait_for(awaited, PATIENCE)
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
    """How many processes there are, and how much they hold."""
    return {"procs": len(workers.family.members()), "pss_mb": round(workers.family.pss(), 1)}


def idle(workers: Workers, servers: Servers, seconds: float) -> Figures:
    """What workers without work cost."""
    trial = workers.place.trial
    with servers.logged_statements(trial):
        time.sleep(1)
        before = _costs(workers, servers, trial)
        time.sleep(seconds)
        after = _costs(workers, servers, trial)
    spent = {name: (cost - before[name]) / seconds for name, cost in after.items()}
    return {name: round(cost, 2) for name, cost in spent.items()}


def latency(workers: Workers, count: int) -> Figures:
    """How long idle workers take from the call to the execution."""
    records = workers.place.records
    skip = body.count(records)
    child(workers.place, "pace", PACE, count / PACE)
    workers.wait_for(skip + count, PATIENCE)
    waits = sorted((record.ran - record.sent) * 1000 for record in body.read(records, skip))
    return {f"p{share}_ms": round(waits[len(waits) * share // 100], 2) for share in (50, 95, 99)}


def child(place: Place, *arguments: object) -> Any:
    """Run a child, and return what it found out.

    Raises:
        ChildFailed: with what it said.
    """
    command = [*CHILD, *map(str, arguments)]
    done = subprocess.run(command, env=place.environment(), capture_output=True, text=True, check=False)
    if done.returncode:
        raise ChildFailed(f"{' '.join(command)}: {done.stderr[-3000:]}")
    return json.loads(done.stdout.splitlines()[-1])


class ChildFailed(Exception):
    """A process that was to enqueue or to set up has failed."""


@contextmanager
def _filled(servers: Servers, trial: Trial) -> Iterator[Filled]:
    with servers.place(trial) as place:
        child(place, "setup")
        yield Filled(place, child(place, "send"))


class Filled(NamedTuple):
    """A place where all tasks wait, and how fast they were enqueued."""

    place: Place
    sent: Figures


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


@contextmanager
def _open_transactions(place: Place, count: int) -> Iterator[None]:
    import psycopg

    database = place.database
    address = {"host": database["HOST"], "port": database["PORT"], "user": database["USER"], "dbname": database["NAME"]}
    connections = [psycopg.connect(**address) for _ in range(count)]
    try:
        for connection in connections:
            connection.execute("SET TRANSACTION ISOLATION LEVEL REPEATABLE READ")
            connection.execute("SELECT pg_current_xact_id(), count(*) FROM django_q_task")
        yield
    finally:
        for connection in connections:
            connection.close()


def backlogs(records: Sequence[Record]) -> Iterator[int]:
    """Second by second of the time in which tasks were offered: how many were enqueued and not yet executed."""
    first, last = (end(record.sent for record in records) for end in (min, max))
    for second in itertools.takewhile(lambda second: second <= last, itertools.count(first + 1)):
        yield sum(record.sent <= second < record.ran for record in records)
