"""Kill processes of two busy clusters at random, during outages of their servers, then check the ledger.

hatch run chaos:run --kind redis --tasks 20000 --kills 200
hatch run chaos:run --kind postgres --minutes 30 --seed 7 --no-accidents
hatch run chaos:run --kind postgres --tasks 6000 --accidents --accident-count 20
"""

from __future__ import annotations

import argparse
import random
import sys
import tempfile
import time
from contextlib import ExitStack, nullcontext, suppress
from pathlib import Path
from typing import TYPE_CHECKING, Any

import psutil

from tests.acceptance.site import RunningCluster, Site, eventually, lives
from tests.services import Postgres, Proxy, Redis

from .accidents import Accidents, Link, of_postgres, of_redis
from .ledger import Kill, Ledger, Outage, read_runs

if TYPE_CHECKING:
    from collections.abc import Callable

LEASE_SECONDS = 5

BLOCK_SECONDS = 20
"""Time for which the database blocks, in seconds."""

ROLES = {"ready for work": "worker", "pushing tasks": "pusher", "monitoring": "monitor", "scheduling": "scheduler"}

JOBS = """
import os, time

def note(*words):
    file = os.open(os.environ["NOTES"], os.O_WRONLY | os.O_APPEND | os.O_CREAT)
    os.write(file, (" ".join(map(str, words)) + "\\n").encode())
    os.close(file)

def work(seconds):
    from django_q.context import current_task
    task = current_task()
    note(task.id, "begins", os.getpid(), os.getppid(), time.time())
    if seconds:
        time.sleep(seconds)
    note(task.id, "ends", os.getpid())
"""

SEND = """
import random
from chaos_jobs import note
from django_q.tasks import async_task
chance = random.Random({seed})
answer = []
for number in range({count}):
    cached = {cached} and chance.random() < 0.25
    track, priority = chance.random() < 0.5, chance.choice([0, 0, 0, -50, 50])
    send = async_task.options(cached=cached, track=track, priority=priority)
    answer.append(str(send('chaos_jobs.work', chance.choice([0, 0.01, 0.05, 0.1, 0.4]))))
    note(answer[-1], 'sent', int(track))
"""

CACHED = """
from django_q.tasks import fetch
found = [task for each in {ids} if (task := fetch(each, cached=True)) is not None and task.success]
answer = {{task.id: task.attempt_count for task in found}}
"""


RECORDS = """
from django_q.models import Record
answer = dict(Record.objects.values_list('id', 'status'))
"""


class Chaos:
    """One run.

    Args:
        site: migrated and empty.
        seed: seed of all random choices.
        restart: restarts the broker's server; None if it has none.
        accidents: what happens to the servers meanwhile, in place of restarts.
        cached: True if some results are saved in the cache.
        say: called with each line of progress.
    """

    def __init__(
        self,
        site: Site,
        seed: int,
        *,
        restart: Callable[[], Any] | None = None,
        accidents: Accidents | None = None,
        cached: bool = False,
        say: Callable[[str], Any] = print,
    ) -> None:
        self.site, self.cached, self.say = site, cached, say
        self.stack = ExitStack()
        """Ends the servers of the run."""
        self.stack.callback(site.close)
        self.restart, self.accidents = (None, accidents) if accidents else (restart, None)
        self.outages: list[Outage] = accidents.outages if accidents else []
        self.random = random.Random(seed)
        self.kills: list[Kill] = []
        self.sentinels: dict[int, int] = {}
        self.clusters: list[RunningCluster] = []
        self.sent: list[str] = []
        (site.folder / "chaos_jobs.py").write_text(JOBS)

    def run(self, *, tasks: int, kills: int, pause: float = 0.4, minutes: float = 0) -> Ledger:
        """Send and kill, wait for the end, and return the ledger.

        Args:
            tasks: number of sent tasks.
            kills: minimum number of killed processes. More are killed until enough accidents have happened.
            pause: mean seconds between two kills.
            minutes: minimum duration of the run.
        """
        end = time.monotonic() + minutes * 60
        with ExitStack() as stack:
            stack.callback(lambda: [cluster.end() for cluster in self.clusters])
            self.clusters += [self._start() for _ in range(2)]
            portion = max(1, tasks // max(1, kills))
            with self.accidents.happening() if self.accidents else nullcontext():
                while (more := self._more(kills, end)) or len(self.sent) < tasks:
                    if len(self.sent) < tasks or time.monotonic() < end:
                        self._send(min(max(portion * 10, 50), max(1, tasks - len(self.sent)) if not minutes else 500))
                    elif more:
                        self._send(50)
                    for _ in range(10):
                        if self._more(kills, end):
                            time.sleep(self.random.uniform(0, 2 * pause))
                            self._kill()
                    self.say(f"{len(self.sent)} sent, {len(self.kills)} killed")
            self._settle()
        return self._balance()

    def _more(self, kills: int, end: float) -> bool:
        """Return True if more processes are to be killed."""
        if self.accidents and not self.accidents.complete:
            return True
        return len(self.kills) < kills or time.monotonic() < end

    def _start(self) -> RunningCluster:
        """Start a cluster as a supervisor does: again, if it exits because its broker cannot be reached."""
        deadline = time.monotonic() + 120
        while True:
            cluster = RunningCluster(self.site, (), {})
            try:
                cluster.wait_until_running()
            except AssertionError:
                cluster.end()
                if time.monotonic() > deadline:
                    raise
                time.sleep(0.5)
            else:
                return cluster

    def _send(self, count: int) -> None:
        deadline = time.monotonic() + 120
        while True:
            try:
                self.sent += self.site.run(SEND.format(seed=self.random.random(), count=count, cached=self.cached))
            except AssertionError:  # the broker is unavailable: what was sent before is noted
                if time.monotonic() > deadline:
                    raise
                time.sleep(0.5)
            else:
                return

    def _kill(self) -> None:
        number = self.random.randrange(len(self.clusters))
        cluster = self.clusters[number]
        family = cluster.family()
        self._note_sentinel(number, family)
        if self.restart is not None and self.random.random() < 0.03:
            began = time.time()
            self.restart()
            self.outages.append(Outage("restart of the broker", began, time.time(), leases=True))
            return
        for victim in self.random.sample(family, min(len(family), self.random.choice([1, 1, 1, 1, 2, 3]))):
            role = self._role(cluster, victim, family)
            with suppress(psutil.NoSuchProcess):
                victim.kill()
                self.kills.append(Kill(time.time(), number, role, victim.pid))
        if cluster.process.poll() is not None or any(kill.role in ("parent", "sentinel") for kill in self.kills[-3:]):
            with suppress(Exception):
                cluster.process.wait(10)
        if cluster.process.poll() is not None:
            orphans = [process for process in family if lives(process)]
            eventually(lambda: not [p for p in orphans if lives(p)], within=15, why=lambda: orphans)
            self.clusters[number] = self._start()

    def _role(self, cluster: RunningCluster, victim: psutil.Process, family: list[psutil.Process]) -> str:
        if victim.pid == family[0].pid:
            return "parent"
        if len(family) > 1 and victim.pid == family[1].pid:
            return "sentinel"
        log = cluster.log
        for words, role in ROLES.items():
            if f"{words} at {victim.pid}\n" in log:
                return role
        return "newborn"

    def _note_sentinel(self, number: int, family: list[psutil.Process]) -> None:
        if len(family) > 1:
            self.sentinels[family[1].pid] = number

    def _settle(self) -> None:
        """Wait until both clusters have finished all tasks, and stop them."""
        for number, cluster in enumerate(self.clusters):
            if cluster.process.poll() is not None:
                self.clusters[number] = self._start()
            self._note_sentinel(number, self.clusters[number].family())
        eventually(lambda: self._left() == 0, within=180, why=lambda: (self._left(), self.clusters[0].log[-3000:]))
        # The failed attempt of a cached task is a delayed package, which no size counts.
        with suppress(AssertionError):  # the ledger reports what is lost
            eventually(lambda: not self._unsaved(), within=4 * LEASE_SECONDS)
            eventually(lambda: {*self._records().values()} <= {"succeeded"}, within=4 * LEASE_SECONDS)
        for cluster in self.clusters:
            assert cluster.stop() == 0, cluster.log[-3000:]

    def _left(self) -> int:
        """Return the number of unfinished tasks; one whose worker was killed is hidden until it is redelivered."""
        return self.site.run(
            """
            from django_q.brokers import get_broker
            from django_q.models import Failure
            broker = get_broker()
            answer = broker.queue_size() + broker.lock_size() + Failure.objects.count()
            """
        )

    def _unsaved(self) -> list[str]:
        """Return the ids of sent tasks without a saved success."""
        sent = _sent(self.site.notes())
        saved = self._saved(sent)
        return [task for task in sent if task not in saved]

    def _saved(self, sent: list[str]) -> dict[str, int]:
        """Return the ids of saved successes, from the database and the cache, with their attempts."""
        saved: dict[str, int] = self.site.run(
            "from django_q.models import Success; answer = dict(Success.objects.values_list('id', 'attempt_count'))"
        )
        if self.cached:
            saved |= self.site.run(CACHED.format(ids=[task for task in sent if task not in saved]))
        return saved

    def _records(self) -> dict[str, str]:
        """Return the status of each tracked task that was sent."""
        found: dict[str, str] = self.site.run(RECORDS)
        return {task: found.get(task, "missing") for task in _sent(self.site.notes(), " sent 1")}

    def _balance(self) -> Ledger:
        notes = self.site.notes()
        runs, parents = read_runs(notes)
        sent = _sent(notes)
        clusters = {pid: self.sentinels[parent] for pid, parent in parents.items() if parent in self.sentinels}
        return Ledger(
            sent, runs, self._saved(sent), set(), self.kills, clusters, self.outages, LEASE_SECONDS, self._records()
        )


def _sent(notes: list[str], words: str = " sent ") -> list[str]:
    return [line.split()[0] for line in notes if words in line]


def make_site(
    folder: Path, kind: str, *, redis: str = "", database: dict[str, Any] | None = None, cache: str = "", **more: Any
) -> Site:
    """Make a migrated site: with short leases and retries of failures; all successes are kept.

    Args:
        folder: an empty folder.
        kind: kind of the broker: `redis`, or a database.
        redis: URL of the broker.
        database: entry of `DATABASES`; None for SQLite.
        cache: URL of a Redis that is the cache, with a client that ignores errors and has no timeouts.
        **more: settings.
    """
    q_cluster: dict[str, Any] = {
        "name": "chaos", "workers": 3, "retry": LEASE_SECONDS, "ack_failures": False, "save_limit": 0,
        "queue_limit": 20, **more,
    }  # fmt: skip
    q_cluster |= {"redis": redis} if kind == "redis" else {"orm": "default"}
    site = Site(folder, q_cluster, database, ("django_q_orm",))
    settings = folder / "site_settings.py"
    text = settings.read_text()
    if database is None:
        wal = "PRAGMA journal_mode=WAL; PRAGMA synchronous=NORMAL;"
        text += f"\nDATABASES['default']['OPTIONS'] = {{'timeout': 30, 'init_command': '{wal}'}}\n"
    if cache:
        options = {"BACKEND": "django_redis.cache.RedisCache", "OPTIONS": {"IGNORE_EXCEPTIONS": True}}
        text += f"\nCACHES = {{'default': {options | {'LOCATION': cache}}}}\n"
    settings.write_text(text)
    site.manage("migrate", "-v0")
    return site


def place(kind: str, server: Any) -> dict[str, Any]:
    """Return the arguments of `make_site` for a server of that kind; None for SQLite."""
    if kind == "redis":
        return {"redis": server.url}
    return {"database": None if server is None else server.fresh_database()}


def make(folder: Path, kind: str, servers: list[Any], seed: int) -> Chaos:
    """Prepare a run in which the broker's server is restarted now and then.

    Args:
        folder: an empty folder.
        kind: `redis`, `postgres` or `sqlite`.
        servers: of the broker; none for SQLite.
        seed: seed of all random choices.
    """
    [server] = servers or [None]
    site = make_site(folder, kind, **place(kind, server))
    return Chaos(site, seed, restart=None if server is None else server.restart)


def make_with_accidents(
    folder: Path, kind: str, servers: list[Any], seed: int, *, count: int | None = None, block: float = BLOCK_SECONDS
) -> Chaos:
    """Prepare a run with accidents. A quarter of the results goes to a cache, which is another Redis.

    Args:
        folder: an empty folder.
        kind: `redis` or `postgres`.
        servers: of the broker, and of the database if that is another.
        seed: seed of all random choices.
        count: minimum number of accidents; None for each of them once.
        block: time for which the database blocks, in seconds.
    """
    with ExitStack() as stack:
        servers = [*servers, stack.enter_context(Redis())]
        links = [Link(server, stack.enter_context(Proxy(server))) for server in servers]
        *_, database, cache = links
        entry = database.server.fresh_database()
        proxied = entry | {"HOST": database.proxy.host, "PORT": str(database.proxy.port)}
        urls = {"redis": f"redis://{links[0].proxy.address}/0", "cache": f"redis://{cache.proxy.address}/0"}
        site = make_site(folder, kind, database=proxied, **urls)
        happen = (of_redis if kind == "redis" else of_postgres)(*links, entry["NAME"], LEASE_SECONDS, block)
        chaos = Chaos(site, seed, accidents=Accidents(happen, seed, count=count), cached=True)
        chaos.stack.push(stack.pop_all())
    return chaos


def main() -> int:
    """Run by hand, with servers of its own."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--kind", choices=["redis", "postgres", "sqlite"], default="redis")
    parser.add_argument("--tasks", type=int, default=2000)
    parser.add_argument("--kills", type=int, default=40)
    parser.add_argument("--minutes", type=float, default=0)
    parser.add_argument(
        "--accidents",
        action=argparse.BooleanOptionalAction,
        default=None,
        help="outages of the servers, servers that block or refuse, connections that break; not with SQLite",
    )
    parser.add_argument("--accident-count", type=int, help="minimum number of accidents; each of them once by default")
    parser.add_argument("--seed", type=int, default=random.randrange(10**6))
    arguments = parser.parse_args()
    print(f"seed {arguments.seed}", flush=True)
    kind = arguments.kind
    with ExitStack() as stack, tempfile.TemporaryDirectory() as folder:
        accidents = kind != "sqlite" if arguments.accidents is None else arguments.accidents
        chosen = {"redis": [Redis], "postgres": [Postgres], "sqlite": []}[kind]
        if accidents and kind == "redis":
            chosen.append(Postgres)
        servers = [stack.enter_context(server()) for server in chosen]
        if accidents:
            chaos = make_with_accidents(Path(folder), kind, servers, arguments.seed, count=arguments.accident_count)
        else:
            chaos = make(Path(folder), kind, servers, arguments.seed)
        stack.enter_context(chaos.stack)
        ledger = chaos.run(tasks=arguments.tasks, kills=arguments.kills, minutes=arguments.minutes)
        print(ledger.summary())
        for task in [*ledger.lost, *ledger.unexplained_doubles(), *ledger.wrong_records][:10]:
            print("  ", task, ledger.runs.get(task), ledger.records.get(task))
        return 0 if ledger.balances else 1


if __name__ == "__main__":
    sys.exit(main())
