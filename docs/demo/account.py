"""Account of the demo: checks that each task was executed exactly once."""

from __future__ import annotations

from collections import Counter
from dataclasses import dataclass
from typing import TYPE_CHECKING

from demosite.tasks import records
from django_q.brokers import get_broker
from django_q.tasks import fetch_group

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence

    from demosite.tasks import Measurement
    from django_q.models import Task

NAMED = 3
"""Maximum number of names that are listed for each kind of mistake."""


@dataclass(frozen=True, kw_only=True)
class Account:
    """Files, sent tasks, and their results."""

    files: Sequence[str]
    """Path of each file that is to be measured."""
    sent: Mapping[str, str]
    """Path of each sent task, by task id."""
    results: Mapping[str, Task]
    """Saved tasks by task id."""
    runs: Counter[str]
    """Number of executions by path."""
    waiting: int
    """Tasks that are still in the queue, waiting or leased."""

    @classmethod
    def of(cls, files: Sequence[str], sent: Mapping[str, str], group: str) -> Account:
        """Read the results through the API, and the records of the tasks."""
        lines = records().read_text(errors="surrogateescape").splitlines() if records().exists() else []
        paths = set(sent.values())
        broker = get_broker()
        return cls(
            files=files,
            sent=sent,
            results={task.id: task for task in fetch_group(group) or ()},
            runs=Counter(path for _, _, path in (line.partition(" ") for line in lines) if path in paths),
            waiting=broker.queue_size() + (broker.lock_size() or 0),
        )

    @property
    def measurements(self) -> list[Measurement]:
        """Return values of the tasks that succeeded."""
        return [task.result for task in self.results.values() if task.success]

    @property
    def failed(self) -> list[Task]:
        """Return the tasks that failed."""
        return [task for task in self.results.values() if not task.success]

    def troubles(self) -> list[str]:
        """Return one line for each mistake."""
        sent, results, runs = self.sent, self.results, self.runs
        run = {task_id: path for task_id, path in sent.items() if runs[path]}
        kinds = {
            "not sent": sorted(set(self.files) - set(sent.values())),
            "sent, and not run": [path for path in sent.values() if not runs[path]],
            "run twice or more": [path for path in sent.values() if runs[path] > 1],
            "run, and without a result": [path for task_id, path in run.items() if task_id not in results],
            "with a result of something else": [
                sent[task_id]
                for task_id, task in results.items()
                if task_id in sent and task.success and task.result["path"] != sent[task_id]
            ],
            "with a result, and never sent": [task.name for task_id, task in results.items() if task_id not in sent],
            "failed": [sent.get(task.id, task.name) for task in self.failed],
        }
        troubles = [_name(kind, members) for kind, members in kinds.items() if members]
        return [*troubles, f"{self.waiting:,} still in the queue"] if self.waiting else troubles


def _name(kind: str, members: list[str]) -> str:
    names = sorted(set(members))
    rest = f" and {len(names) - NAMED:,} more" if len(names) > NAMED else ""
    return f"{len(members):,} {kind}: {', '.join(names[:NAMED])}{rest}"
