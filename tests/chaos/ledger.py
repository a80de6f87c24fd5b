"""Ledger of a run in which processes are killed at random: what happened to each task."""

from __future__ import annotations

import itertools
import time
from collections import Counter, defaultdict
from dataclasses import dataclass, field
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from collections.abc import Iterator


@dataclass(frozen=True)
class Kill:
    """Kill of a process."""

    at: float
    """Seconds since the epoch."""
    cluster: int
    """Number of the cluster."""
    role: str
    pid: int


@dataclass(frozen=True)
class Outage:
    """A time in which a server did not answer."""

    what: str
    began: float
    """Seconds since the epoch."""
    ended: float
    leases: bool
    """True if leases could not be renewed meanwhile."""

    @property
    def seconds(self) -> float:
        """Duration."""
        return self.ended - self.began

    def __str__(self) -> str:
        return f"{time.strftime('%H:%M:%S', time.localtime(self.began))} {self.what} for {self.seconds:.1f} s"


@dataclass(frozen=True)
class Run:
    """One execution of a task, as the task noted it."""

    began: float
    """Seconds since the epoch."""
    pid: int
    ended: bool


@dataclass
class Ledger:
    """Sent, executed and saved tasks, and killed processes."""

    sent: list[str]
    runs: dict[str, list[Run]]
    saved: dict[str, int]
    """Task id → attempts, of the successes in the database."""
    waiting: set[str]
    kills: list[Kill]
    clusters: dict[int, int]
    """Process id of a worker → number of its cluster."""
    outages: list[Outage] = field(default_factory=list)
    lease: float = 5
    """Seconds."""
    records: dict[str, str] = field(default_factory=dict)
    """Task id → status, of the tracked tasks."""

    @property
    def lost(self) -> list[str]:
        """Tasks that were sent, are not saved, and wait nowhere."""
        return [task for task in self.sent if task not in self.saved and task not in self.waiting]

    @property
    def saved_without_a_run(self) -> list[str]:
        """Return saved tasks without a recorded execution."""
        return [task for task in self.saved if task not in self.runs]

    @property
    def wrong_records(self) -> list[str]:
        """Tracked tasks whose record does not say that they have succeeded."""
        return [task for task, status in self.records.items() if status != "succeeded"]

    @property
    def doubles(self) -> dict[str, list[Run]]:
        """Tasks that ran more than once."""
        return {task: runs for task, runs in self.runs.items() if len(runs) > 1}

    @property
    def uncounted(self) -> list[str]:
        """Tasks that ran more often than their rows say."""
        return [task for task, runs in self.doubles.items() if self.saved.get(task, len(runs)) < len(runs)]

    def unexplained_doubles(self) -> list[str]:
        """Tasks that ran again, though nothing that held their first run was killed and no outage ended its lease."""
        return [task for task, explanation in self._explanations() if explanation is None]

    def _explanations(self) -> Iterator[tuple[str, str | None]]:
        """Yield each task that was executed again, and the explanation; None without one."""
        for task, runs in self.doubles.items():
            runs.sort(key=lambda run: run.began)
            for first, second in itertools.pairwise(runs):
                yield task, self._explanation(first, second)

    def _explanation(self, first: Run, second: Run) -> str | None:
        cluster = self.clusters.get(first.pid)
        for kill in self.kills:
            if not first.began - 1 <= kill.at <= second.began:
                continue
            if kill.pid == first.pid:
                return "kill of its worker"
            if kill.cluster == cluster and kill.role != "worker" and kill.role != "scheduler":
                return f"kill of the {kill.role}"
        for outage in self.outages:
            overlaps = first.began - 1 <= outage.ended + outage.seconds and outage.began <= second.began
            if overlaps and self._ends_leases(outage):
                return outage.what
        return None

    def _ends_leases(self, outage: Outage) -> bool:
        """Return True if leases may have expired.

        They are renewed every third of a lease, so the last renewal may be that old. After an outage, the back-off is
        at most as long as the outage was.
        """
        return outage.leases and outage.seconds > self.lease / 3

    def summary(self) -> str:
        """Return the result in a few lines."""
        roles = Counter(kill.role for kill in self.kills)
        attempts = Counter(self.saved.values())
        unexplained = self.unexplained_doubles()
        outages = Counter(outage.what for outage in self.outages)
        explained = Counter(explanation for _, explanation in self._explanations() if explanation)
        return "\n".join(
            [
                f"{len(self.sent)} tasks sent, {len(self.saved)} saved",
                f"{len(self.waiting)} waiting, {len(self.lost)} lost",
                f"{len(self.doubles)} ran more than once, {len(unexplained)} of them unexplained",
                "explained by: " + ", ".join(f"{count} {what}" for what, count in sorted(explained.items())),
                f"{len(self.records)} tracked, {len(self.wrong_records)} with a wrong record",
                f"{len(self.uncounted)} ran more often than their rows say",
                f"{len(self.kills)} kills: " + ", ".join(f"{count} {role}" for role, count in sorted(roles.items())),
                f"{len(self.outages)} outages: " + ", ".join(f"{n} {what}" for what, n in sorted(outages.items())),
                *(f"  {outage}" for outage in sorted(self.outages, key=lambda outage: outage.began)),
                "attempts of the saved: " + ", ".join(f"{n}: {count}" for n, count in sorted(attempts.items())),
            ]
        )

    @property
    def balances(self) -> bool:
        """Return True if no task is lost, every duplicate is explained and every record tells the end of its task."""
        wrong = self.lost or self.unexplained_doubles() or self.saved_without_a_run or self.wrong_records
        return not wrong


def read_runs(lines: list[str]) -> tuple[dict[str, list[Run]], dict[int, int]]:
    """Read what tasks noted: `id begins pid parent seconds` and `id ends pid`, beside `id sent 0` of their sender.

    Returns:
        The runs of each task, and nothing known of clusters yet: worker → process id of its sentinel.
    """
    ends = {(task, pid) for task, word, pid, *_ in map(str.split, lines) if word == "ends"}
    runs: dict[str, list[Run]] = defaultdict(list)
    parents = {}
    for line in lines:
        task, word, pid, *more = line.split()
        if word != "begins":
            continue
        parents[int(pid)] = int(more[0])
        runs[task].append(Run(float(more[1]), int(pid), (task, pid) in ends))
    return dict(runs), parents
