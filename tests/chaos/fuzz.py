"""Mix hostile tasks with normal ones, then check that nothing but workers was hurt.

hatch run chaos:fuzz --kind redis --tasks 2000
hatch run chaos:fuzz --kind postgres --tasks 2000 --track
hatch run chaos:fuzz --kind postgres --tasks 2000 --seed 7 --only group_nul,act_spin
"""

from __future__ import annotations

import argparse
import json
import os
import random
import subprocess
import sys
import tempfile
import time
from collections import Counter
from contextlib import ExitStack, suppress
from pathlib import Path
from typing import TYPE_CHECKING, Any

import psutil

from tests.acceptance.site import RunningCluster, kill_all

from .run import make_site, place

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable

    from tests.acceptance.site import Site

MODULES = ("hostile_jobs", "hostile_kinds")
"""Modules that are copied into the site."""

STAYS = "STAYS"
"""`STAYS` of `hostile_jobs`, which is a module of the site."""

SETTINGS = {"workers": 4, "retry": 6, "timeout": 5, "import_timeout": 3, "max_attempts": 2, "queue_limit": 16}

QUIET_SECONDS = SETTINGS["retry"] + 3
"""Time without progress after which the run is over: a failed attempt is hidden for `retry` seconds."""

BATCH_TASKS = 50
"""Tasks that are sent by one process."""

SLOW_WEIGHT = 0.15
"""Relative frequency of kinds that occupy a worker for seconds; others have 1."""

ROLES = {"pusher": "pushing tasks at ", "monitor": "monitoring at ", "scheduler": "scheduling at "}

CACHE = '''
"""A cache that accepts the keys that memcached accepts."""
from django.core.cache.backends.base import InvalidCacheKey, memcache_key_warnings
from django.core.cache.backends.filebased import FileBasedCache

class StrictCache(FileBasedCache):
    def validate_key(self, key):
        for warning in memcache_key_warnings(key):
            raise InvalidCacheKey(warning)
'''

RECORD_ENDS = {"success": {"succeeded"}, "failure": {"failed", "cancelled"}}
"""Allowed states of a record, by the end of its task."""

FINAL = {"succeeded", "failed", "cancelled"}
"""Allowed states of the record of a dead letter, and of a cached result that cannot be read."""

NOT_TRACKED = ("iter",)
"""Normal kinds whose id is that of no task."""

PREPARE = """
from pathlib import Path
from django.conf import settings
from hostile_kinds import KINDS, LABELS_PER_KIND, MODULES, NORMAL
for name, text in MODULES.items():
    Path(f"hostile_import_{name}.py").write_text(text)
kinds = {name: [sorted(kind.ends), kind.slow] for name, kind in KINDS.items()}
labels = {name: LABELS_PER_KIND.get(name, [""]) for name in NORMAL}
answer = [kinds, labels, settings.Q_CLUSTER["name"]]
"""

LOOK = """
from django_q.brokers import get_broker
from django_q.models import Task
broker = get_broker()
answer = [broker.queue_size() + broker.lock_size(), Task.objects.count(), broker.dead_size()]
"""

READ = """
import json, os, signal
from django.db import connections
from django_q.models import Schedule, Task
from django_q.tasks import fetch_cached
ids = json.load(open("ids.json"))
rows = dict(Task.objects.filter(pk__in=ids).values_list("id", "success")) if len(ids) < 500 else dict(
    Task.objects.values_list("id", "success"))
answer = {id: "success" if rows[id] else "failure" for id in ids if id in rows}
schedules = {f"schedule-{pk}": more for pk, *more in Schedule.objects.values_list("pk", "task", "last_error")}
for id in ids:
    if str(id).startswith("schedule-"):
        task, error = schedules.get(id, ("gone", None))
        rows[id] = answer[id] = "failure" if error else "success" if task else None
connections.close_all()
for id in ids:  # Reading a cached result unpickles it, which may do anything.
    if id not in rows:
        if not (child := os.fork()):
            signal.alarm(3)
            try:
                task = fetch_cached(id)
                os._exit(100 if task is None else 101 if task.success else 102)  # the value may exit with others
            finally:
                os._exit(1)
        status = os.waitstatus_to_exitcode(os.waitpid(child, 0)[1])
        answer[id] = {100: None, 101: "success", 102: "failure"}.get(status, "cached")
"""

RECORDS = """
from django_q.models import Record
answer = dict(Record.objects.values_list("id", "status"))
"""


class Fuzz:
    """One run.

    Args:
        site: migrated and empty.
        seed: seed of all random choices.
        tracks: True if the settings of the site track all tasks.
        say: called with each line of progress.
    """

    def __init__(self, site: Site, seed: int, *, tracks: bool = False, say: Callable[[str], Any] = print) -> None:
        self.site, self.tracks, self.say = site, tracks, say
        self.random = random.Random(seed)
        for name in MODULES:
            (site.folder / f"{name}.py").write_text(Path(__file__).with_name(f"{name}.py").read_text())
        (site.folder / "hostile_cache.py").write_text(CACHE)
        with (site.folder / "site_settings.py").open("a") as settings:
            settings.write(
                "\nCACHES['default'] |= {'BACKEND': 'hostile_cache.StrictCache', 'OPTIONS': {'MAX_ENTRIES': 10**6}}\n"
            )
        self.kinds: dict[str, tuple[list[str], bool]]
        self.normal: dict[str, list[str]]
        self.name: str
        self.kinds, self.normal, self.name = site.run(PREPARE)
        self.batch: list[tuple[str, str]] = []
        self.answers: dict[str, tuple[str, list[str]]] = {}
        self.problems: list[str] = []

    def run(self, *, hostile: int, normal: int, within: float, only: Iterable[str] = ()) -> list[str]:
        """Send all tasks, wait, stop the cluster, and check.

        Args:
            hostile: number of hostile tasks.
            normal: number of normal tasks.
            within: seconds in which all must have ended.
            only: kinds of hostile tasks; all by default.

        Returns:
            One line per broken promise.
        """
        self.batch = self._draw(hostile, normal, list(only) or list(self.kinds))
        cluster = RunningCluster(self.site, (), {})
        try:
            cluster.wait_until_running()
            sentinel = cluster.family()[1].pid
            end = time.monotonic() + within
            for start in range(0, len(self.batch), BATCH_TASKS):
                self._send(self.batch[start : start + BATCH_TASKS])
            self._wait(end)
            self._check_processes(cluster, sentinel)
            self._check_shutdown(cluster)
        finally:
            kill_all(cluster.family())
            kill_all(self._processes())
        self._check_tasks()
        return self.problems

    def _draw(self, hostile: int, normal: int, kinds: list[str]) -> list[tuple[str, str]]:
        weights = [SLOW_WEIGHT if self.kinds[kind][1] else 1 for kind in kinds]
        drawn = self.random.sample(kinds, min(hostile, len(kinds)))
        drawn += self.random.choices(kinds, weights, k=hostile - len(drawn))
        batch = [(f"h{number}", kind) for number, kind in enumerate(drawn)]
        batch += [(f"n{number}", self.random.choice(list(self.normal))) for number in range(normal)]
        self.random.shuffle(batch)
        return batch

    def _send(self, batch: list[tuple[str, str]]) -> None:
        code = f"from hostile_kinds import send; answer = send({self.random.random()}, {batch!r})"
        for label, state, ids in self.site.run(code):
            self.answers[label] = state, ids

    def _wait(self, end: float) -> None:
        last, since = None, time.monotonic()
        while time.monotonic() < end:
            left, rows, dead = self.site.run(LOOK)
            now = left, rows, dead, len(self.site.notes())
            if now != last:
                last, since = now, time.monotonic()
                self.say("{} left, {} rows, {} dead letters, {} notes".format(*now))
            if left == 0 and time.monotonic() - since > QUIET_SECONDS:
                return
            time.sleep(0.5)
        self.problems.append(f"not all tasks ended: (left, rows, dead letters, notes) = {last}")

    # Checks

    def _check_processes(self, cluster: RunningCluster, sentinel: int) -> None:
        family = [process.pid for process in cluster.family()]
        if sentinel not in family:
            self.problems.append("the sentinel died")
        log = cluster.log
        for role, words in ROLES.items():
            if (starts := log.count(words)) != 1:
                self.problems.append(f"the {role} died {starts - 1} times")

    def _check_shutdown(self, cluster: RunningCluster) -> None:
        began = time.monotonic()
        try:
            if status := cluster.stop(within=60):
                self.problems.append(f"the cluster exited with {status}")
        except subprocess.TimeoutExpired:
            self.problems.append("the cluster did not stop within 60 s")
        self.say(f"stopped after {time.monotonic() - began:.1f} s")
        end = time.monotonic() + 5
        while (left := self._left_behind(cluster)) and time.monotonic() < end:
            time.sleep(0.1)
        for process in left:
            with suppress(psutil.NoSuchProcess):
                self.problems.append(f"left behind: {process.pid} {process.cmdline()[:4]} {process.status()}")

    def _left_behind(self, cluster: RunningCluster) -> list[psutil.Process]:
        """Return the remaining processes of the cluster. Daemons, and programs of tasks that returned, may stay."""
        found = []
        for process in self._processes():
            with suppress(ProcessLookupError, psutil.NoSuchProcess):
                if os.getsid(process.pid) == cluster.process.pid and STAYS not in process.environ():
                    found.append(process)
        return found

    def _processes(self) -> list[psutil.Process]:
        """Return the processes of the cluster, also those that became daemons.

        They have its environment, or its name where a title has overwritten that.
        """
        found, notes = [], str(self.site.notes_file)
        shells = {shell.process.pid for shell in self.site.shells}
        for process in psutil.process_iter():
            with suppress(psutil.Error):
                own = self.name in " ".join(process.cmdline()).split() or process.environ().get("NOTES") == notes
                if own and process.pid not in shells:
                    found.append(process)
        return found

    def _check_tasks(self) -> None:
        ids = [task for _, sent in self.answers.values() for task in sent]
        (self.site.folder / "ids.json").write_text(json.dumps(ids))
        found: dict[str, str | None] = self.site.run(READ)
        _, _, dead = self.site.run(LOOK)
        notes = [line.split() for line in self.site.notes()]
        runs = Counter(label for label, *_ in notes)
        self._check_damage(notes)
        dead_letters = 0
        for label, kind in self.batch:
            state, sent = self.answers[label]
            ends = [found.get(task) for task in sent]
            if kind in self.normal:
                self._check_normal(label, kind, state, ends, runs)
            else:
                dead_letters += self._check_hostile(label, kind, state, ends, runs)
        if dead < dead_letters:
            self.problems.append(f"{dead_letters} dead letters expected, {dead} found")
        if self.tracks:
            self._check_records(found)

    def _check_records(self, found: dict[str, str | None]) -> None:
        records: dict[str, str] = self.site.run(RECORDS)
        for label, kind in self.batch:
            state, sent = self.answers[label]
            for task in sent if state == "sent" else ():
                end, status = found.get(task), records.get(task)
                if status is None:
                    if kind in self.normal and kind not in NOT_TRACKED:
                        self.problems.append(f"{label} (normal {kind}): has no record")
                elif status not in RECORD_ENDS.get(end or "", FINAL):
                    self.problems.append(f"{label} ({kind}): ended as {end or 'nothing'}, and its record is {status}")

    def _check_damage(self, notes: list[list[str]]) -> None:
        """Report each sort of damage once, with the tasks that ran before in the process that shows it."""
        kinds, seen = dict(self.batch), Counter()
        for label, *damage in notes:
            if damage:
                split = damage.index("after")
                what, before = " ".join(damage[:split]), damage[split + 1 :]
                if not seen[what]:
                    hostile = [f"{other} ({kinds[other]})" for other in before if other in kinds and other[0] == "h"]
                    self.problems.append(f"{label} found damage: {what}; before it ran {', '.join(hostile)}")
                seen[what] += 1
        if seen:
            self.problems.append(f"damage was found by {seen.total()} tasks")

    def _check_normal(self, label: str, kind: str, state: str, ends: list[str | None], runs: Counter[str]) -> None:
        where = f"{label} (normal {kind})"
        if state != "sent":
            self.problems.append(f"{where}: {state}")
            return
        for suffix in self.normal[kind]:
            if (count := runs[label + suffix]) != 1:
                self.problems.append(f"{where}: {label}{suffix} ran {count} times")
        if any(end != "success" for end in ends):
            self.problems.append(f"{where}: ended as {ends}")
        if kind == "hook" and not runs[f"hook-{label}"]:
            self.problems.append(f"{where}: its hook did not run")

    def _check_hostile(self, label: str, kind: str, state: str, ends: list[str | None], runs: Counter[str]) -> int:
        """Check one task and return how many dead letters it explains."""
        allowed = set(self.kinds[kind][0])
        where = f"{label} ({kind})"
        if state != "sent":
            if state not in allowed:
                self.problems.append(f"{where}: {state}")
            return 0
        allowed -= {end for end in allowed if end == "rejected" or end.endswith("at the call")}
        if not allowed:
            self.problems.append(f"{where}: not rejected, ended as {ends}")
            return 0
        for end in ends:
            if (end or "dead letter") not in allowed and end != "cached":
                self.problems.append(f"{where}: ended as {end or 'nothing'}")
        most = 1 if "success" in ends else SETTINGS["max_attempts"]
        if runs[label] > most:
            self.problems.append(f"{where}: ran {runs[label]} times")
        if kind == "hook_of_hook_coroutine" and not runs[f"awaited-{label}"]:
            self.problems.append(f"{where}: its hook was not awaited")
        if "dead letter" not in allowed:
            return 0
        return len([end for end in ends if end is None]) if ends else allowed == {"dead letter"}


def make(folder: Path, kind: str, server: Any, seed: int, *, track: bool = False) -> Fuzz:
    """Prepare a run in an empty folder."""
    name = f"fuzz-{time.time_ns()}"  # processes are found by it
    site = make_site(folder, kind, **place(kind, server), **SETTINGS, name=name, track=track)
    return Fuzz(site, seed, tracks=track)


def main() -> int:
    """Run by hand, with servers of its own."""
    from tests.services.postgres import Postgres
    from tests.services.redis import Redis

    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--kind", choices=["redis", "postgres", "sqlite"], default="redis")
    parser.add_argument("--tasks", type=int, default=2000, help="hostile ones, and as many normal ones")
    parser.add_argument("--within", type=float, default=0, help="seconds in which all must have ended")
    parser.add_argument("--only", default="", help="kinds of hostile tasks, separated by commas")
    parser.add_argument("--track", action="store_true", help="track all tasks, and check their records")
    parser.add_argument("--log", help="where the log of the cluster goes")
    parser.add_argument("--seed", type=int, default=random.randrange(10**6))
    arguments = parser.parse_args()
    print(f"seed {arguments.seed}", flush=True)
    with ExitStack() as stack, tempfile.TemporaryDirectory() as folder:
        server = {"redis": Redis, "postgres": Postgres}[arguments.kind]() if arguments.kind != "sqlite" else None
        if server is not None:
            server.start()
            stack.callback(server.close)
        fuzz = make(Path(folder), arguments.kind, server, arguments.seed, track=arguments.track)
        stack.callback(fuzz.site.close)
        within = arguments.within or 120 + arguments.tasks
        only = list(filter(None, arguments.only.split(",")))
        problems = fuzz.run(hostile=arguments.tasks, normal=arguments.tasks, within=within, only=only)
        if arguments.log:
            Path(arguments.log).write_bytes((fuzz.site.folder / "cluster0.log").read_bytes())
        print(*problems, sep="\n")
        print(f"seed {arguments.seed}: {len(problems)} broken promises")
        return bool(problems)


if __name__ == "__main__":
    sys.exit(main())
