"""The rows of the table in docs/explanation/performance.md: one function each."""

from __future__ import annotations

from dataclasses import replace
from functools import partial
from typing import TYPE_CHECKING, NamedTuple

from .measure import draining, enqueuing, flowing, growing, idling, sleeping, starting, waking
from .pressure import pressing
from .series import Line
from .trial import Trial

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator, Sequence

    from .children import Figures
    from .series import Bound, Measure, Series

    Lines = Iterator[Line]


class Row(NamedTuple):
    """Measurement of a row."""

    lines: Callable[[Series], Lines]
    long: bool
    """True if the row takes many minutes, and is only measured on request."""


ROWS: dict[str, Row] = {}

REDIS = Trial()
POSTGRES = Trial(database="postgres")
HUEY = Trial(peer="huey")
DRAMATIQ = Trial(peer="dramatiq")
PROCRASTINATE = Trial(peer="procrastinate", tasks=2_000)
DJANGO_TASKS = Trial(peer="django_tasks", tasks=2_000)
BOTH = ["Huey", "Dramatiq"]
SENT, SETTLED = "enqueue_per_s", "settled_per_s"
FEW = 100
"""Tasks that warm workers up whose speed is not asked for."""


def ours(trial: Trial, **settings: object) -> Trial:
    """The same with more settings."""
    return replace(trial, settings=trial.settings | settings)


def row(letter: str, *, long: bool = False) -> Callable[[Callable[[Series], Lines]], Callable[[Series], Lines]]:
    """Enter a row into the table."""

    def enter(lines: Callable[[Series], Lines]) -> Callable[[Series], Lines]:
        ROWS[letter] = Row(lines, long)
        return lines

    return enter


def beside(
    what: str, figure: str, figures: Sequence[Figures], whom: Sequence[str], bound: Bound, target: float, unit: str = ""
) -> Line:
    """The first of the figures beside the best of the others."""
    mine, *others = (each[figure] for each in figures)
    best = max if bound == "≥" else min
    peer, name = best(zip(others, whom, strict=True))
    return Line(what=what, ours=mine, peer=peer, whom=name, bound=bound, target=target, unit=unit)


@row("a")
def saved_in_sqlite(series: Series) -> Lines:
    figures = series.in_turn(draining, REDIS, HUEY, DRAMATIQ)
    yield beside("Redis, results in SQLite: settled tasks a second", SETTLED, figures, BOTH, "≥", 2.5)


@row("b")
def saved_in_postgres(series: Series) -> Lines:
    figures = series.in_turn(draining, POSTGRES, HUEY, DRAMATIQ)
    yield beside("Redis, results in PostgreSQL: settled tasks a second", SETTLED, figures, BOTH, "≥", 2.0)


@row("c")
def not_saved(series: Series) -> Lines:
    figures = series.in_turn(draining, ours(REDIS, save_limit=-1), HUEY, DRAMATIQ)
    yield beside("Redis, `save_limit` -1: settled tasks a second", SETTLED, figures, BOTH, "≥", 4.0)


@row("d")
def processor(series: Series) -> Lines:
    *figures, _ = series.in_turn(draining, REDIS, HUEY, DRAMATIQ)
    what = "Redis, results in SQLite: processor time of a task"
    yield beside(what, "worker_cpu_us", figures, ["Huey"], "≤", 0.5, " µs")
    yield beside(f"{what}, without the start", "task_cpu_us", figures, ["Huey"], "≤", 0.5, " µs")


@row("e")
def one_call_a_task(series: Series) -> Lines:
    plain, given, huey = series.in_turn(enqueuing, REDIS, replace(REDIS, sending="broker"), HUEY)
    for figures, how in ((given, "given"), (plain, "not given")):
        what = f"Redis: calls of `async_task` a second, `broker=` {how}"
        yield Line(what=what, ours=figures[SENT], peer=huey[SENT], whom="Huey", bound="≥", target=1.0)


@row("f")
def bulk(series: Series) -> Lines:
    orm = ours(replace(POSTGRES, tasks=10_000), orm="default")
    many = replace(REDIS, tasks=10_000, sending="bulk")
    redis, postgres, single = series.in_turn(enqueuing, many, replace(orm, sending="bulk"), orm)
    yield Line(what="Redis: `async_bulk` of 10,000, tasks a second", ours=redis[SENT], bound="≥", target=20_000)
    what = "PostgreSQL: `async_bulk` of 10,000 in one transaction, tasks a second"
    yield Line(what=what, ours=postgres[SENT], bound="≥", target=10_000)
    what = "the same, one or the other target"
    yield Line(what=what, ours=postgres[SENT], peer=single[SENT], whom="our single calls", bound="≥", target=4)


@row("g")
def latency(series: Series) -> Lines:
    mine, huey = series.in_turn(waking, replace(REDIS, tasks=FEW), replace(HUEY, tasks=FEW))
    for figure, target in (("p50", 1.0), ("p99", 1.2)):
        name, what = f"{figure}_ms", f"Redis, idle cluster: latency, {figure}"
        yield Line(what=what, ours=mine[name], peer=huey[name], whom="Huey", bound="≤", target=target, unit=" ms")


@row("h")
def database_broker_on_postgres(series: Series) -> Lines:
    trials = ours(POSTGRES, orm="default"), PROCRASTINATE
    figures = series.in_turn(draining, *trials)
    yield beside("PostgreSQL as broker: settled tasks a second", SETTLED, figures, ["Procrastinate"], "≥", 10)
    figures = series.in_turn(waking, *(replace(trial, tasks=FEW) for trial in trials))
    what = "PostgreSQL as broker, idle cluster: latency, p50"
    yield beside(what, "p50_ms", figures, ["Procrastinate"], "≤", 1.0, " ms")


@row("i")
def database_broker_on_sqlite(series: Series) -> Lines:
    peers = DJANGO_TASKS, replace(DJANGO_TASKS, workers=1)
    figures = series.in_turn(draining, ours(REDIS, orm="default"), *peers)
    whom = ["django-tasks-db with two workers", "django-tasks-db with one worker"]
    yield beside("SQLite as broker: settled tasks a second", SETTLED, figures, whom, "≥", 10)


@row("j")
def memory(series: Series) -> Lines:
    mine, huey, _ = series.in_turn(draining, REDIS, HUEY, DRAMATIQ)
    what, peer = "Redis: memory of the whole cluster, PSS", huey["pss_mb"]
    yield Line(what=what, ours=mine["pss_mb"], peer=peer, whom="Huey", bound="≤", target=1.4, unit=" MB")


@row("k")
def idle(series: Series) -> Lines:
    few = replace(REDIS, tasks=FEW), ours(replace(POSTGRES, tasks=FEW), orm="default")
    redis, postgres = series.in_turn(idling, *few)
    for figures, where in ((redis, "Redis"), (postgres, "PostgreSQL")):
        what = f"Idle, {where}: share of a processor"
        yield Line(what=what, ours=figures["idle_cpu_pct"], bound="≤", target=0.5, unit=" %")
    yield Line(what="Idle: Redis commands a second", ours=redis["idle_redis_ops_s"], bound="≤", target=4)
    yield Line(what="Idle: SQL statements a second, PostgreSQL", ours=postgres["idle_sql_s"], bound="≤", target=2)


@row("l")
def start(series: Series) -> Lines:
    (figures,) = series.in_turn(starting, replace(REDIS, tasks=2))
    what, peer = "`qcluster` to the first task executed", figures["check_s"]
    yield Line(what=what, ours=figures["start_s"], peer=peer, whom="`check`", bound="≤", target=2.0, unit=" s")


@row("m", long=True)
def depth(series: Series) -> Lines:
    for where, trial in (("Redis", REDIS), ("PostgreSQL", ours(POSTGRES, orm="default"))):
        short = replace(trial, tasks=10_000, measured=10_000, sending="bulk")
        shallow, deep = series.in_turn(draining, short, replace(short, tasks=1_000_000))
        yield kept(f"{where}: drain rate with 1,000,000 waiting", deep, shallow, "with 10,000")


@row("n", long=True)
def stored_results(series: Series) -> Lines:
    for where, trial in (("PostgreSQL", POSTGRES), ("SQLite", REDIS)):
        for limit in (250, 0):
            limited = ours(trial, save_limit=limit)
            empty, full = series.in_turn(draining, limited, replace(limited, rows=1_000_000))
            yield kept(f"{where}: drain rate with 1,000,000 results, `save_limit` {limit}", full, empty, "with none")


def kept(what: str, loaded: Figures, unloaded: Figures, whom: str) -> Line:
    """Compare a drain rate with that of a small table or queue."""
    rate = "drain_per_s"
    return Line(what=what, ours=loaded[rate], peer=unloaded[rate], whom=whom, bound="≥", target=0.85)


@row("o")
def many_workers(series: Series) -> Lines:
    trial = Trial(tasks=1_600, workers=16, seconds=0.1)
    (figures,) = series.in_turn(sleeping, trial)
    what, ideal = "16 workers, tasks that sleep 100 ms: tasks a second", trial.workers / trial.seconds
    yield Line(what=what, ours=figures["per_s"], peer=ideal, whom="the ideal", bound="≥", target=0.95)


@row("p")
def large_arguments(series: Series) -> Lines:
    large = [replace(trial, tasks=200, payload=1_000_000) for trial in (REDIS, HUEY)]
    mine, huey = (figures["mb_per_s"] for figures in series.in_turn(flowing, *large))
    what = "Redis, 1 MB arguments: from the first call until all is settled"
    yield Line(what=what, ours=mine, peer=huey, whom="Huey", bound="≥", target=1.0, unit=" MB/s")


@row("q", long=True)
def open_transactions(series: Series) -> Lines:
    rate, seconds = 300, 120 * series.scale
    measure: Measure = partial(pressing, rate=rate, seconds=seconds)
    (figures,) = series.in_turn(measure, ours(replace(POSTGRES, tasks=2), orm="default"))
    first, last = figures["first_backlog"], figures["last_backlog"]
    what = f"PostgreSQL, three open transactions, {rate} tasks a second: backlog at the end"
    some = max(first, rate / 10)  # a tenth of a second's tasks more is no growth
    yield Line(what=what, ours=last, peer=some, whom="at the beginning", bound="≤", target=1.0, unit=" tasks")


@row("r")
def growth(series: Series) -> Lines:
    trial = ours(replace(REDIS, tasks=5_000, sending="bulk"), recycle=0)
    measure: Measure = partial(growing, more=int(95_000 * series.scale))
    (figures,) = series.in_turn(measure, trial)
    what = "Redis, `recycle` 0: the process that grew most, after 100,000 tasks"
    for kind, name in (("rss", ""), ("uss", ": private part")):
        mine, early = figures[f"late_{kind}_mb"], figures[f"early_{kind}_mb"]
        yield Line(what=what + name, ours=mine, peer=early, whom="after 5,000", bound="≤", target=1.05, unit=" MB")


@row("s")
def tasks_of_django(series: Series) -> Lines:
    whom = ["django-tasks-db with two workers", "django-tasks-db with one worker"]
    for where, database in (("PostgreSQL", "postgres"), ("SQLite", "sqlite")):
        mine = ours(Trial(peer="ours_django_tasks", tasks=5_000, database=database), orm="default")
        peer = replace(DJANGO_TASKS, database=database)
        figures = series.in_turn(draining, mine, peer, replace(peer, workers=1))
        yield beside(f"`django.tasks` on {where}: settled tasks a second", SETTLED, figures, whom, "≥", 10)
        yield beside(f"`django.tasks` on {where}: enqueued tasks a second", SENT, figures, whom, "≥", 1)
