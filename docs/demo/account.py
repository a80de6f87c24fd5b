"""Were all tasks run, and each only once?"""

from __future__ import annotations

from collections import Counter
from dataclasses import dataclass
from typing import TYPE_CHECKING

from demosite.tasks import records

from django_q.brokers import get_broker
from django_q.models import Task

if TYPE_CHECKING:
    from collections.abc import Mapping

    from demosite.tasks import Measurement

NAMED = 5
"""Names given of each kind of trouble; the rest is counted."""


@dataclass(frozen=True, kw_only=True)
class Account:
    """What was sent, what was run and what came of it."""

    sent: Mapping[str, str]
    """Task id → path, for each task sent."""
    results: Mapping[str, Task]
    """Task id → task, for each result saved."""
    runs: Counter[str]
    """Path → how often a worker began to measure it."""
    waiting: int
    """Tasks left in the queue, waiting or taken."""

    @classmethod
    def of(cls, sent: Mapping[str, str], group: str) -> Account:
        """Read the results through the API, and the records that the tasks left themselves."""
        lines = records().read_text(errors="surrogateescape").splitlines() if records().exists() else []
        paths = set(sent.values())
        broker = get_broker()
        return cls(
            sent=sent,
            results={task.id: task for task in Task.get_task_group(group)},
            runs=Counter(path for _, _, path in (line.partition(" ") for line in lines) if path in paths),
            waiting=broker.queue_size() + (broker.lock_size() or 0),
        )

    @property
    def measurements(self) -> list[Measurement]:
        """What the tasks found out."""
        return [task.result for task in self.results.values() if task.success]

    @property
    def failed(self) -> list[Task]:
        """Tasks that raised."""
        return [task for task in self.results.values() if not task.success]

    def troubles(self) -> list[str]:
        """Everything that is not as it should be, a line each; none when all is well."""
        sent, results, runs = self.sent, self.results, self.runs
        kinds = {
            "lost: sent, and not run": [path for path in sent.values() if not runs[path]],
            "run twice or more": [path for path in sent.values() if runs[path] > 1],
            "run, and without a result": [path for id, path in sent.items() if runs[path] and id not in results],
            "with a result of something else": [
                sent[id] for id, task in results.items() if id in sent and task.success and task.result["path"] != sent[id]
            ],
            "with a result, and never sent": [task.name for id, task in results.items() if id not in sent],
            "failed": [sent.get(task.id, task.name) for task in self.failed],
            "still in the queue": ["tasks"] * self.waiting,
        }
        return [_name(kind, members) for kind, members in kinds.items() if members]


def _name(kind: str, members: list[str]) -> str:
    names = sorted(set(members))
    rest = f" and {len(names) - NAMED:,} more" if len(names) > NAMED else ""
    return f"{len(members):,} {kind}: {', '.join(names[:NAMED])}{rest}"
