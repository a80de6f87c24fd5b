"""Parameters of a measurement, which its processes receive."""

from __future__ import annotations

import json
import os
import tempfile
from dataclasses import asdict, dataclass, field, replace
from importlib.metadata import entry_points
from pathlib import Path
from typing import Any, Literal, Self

from . import body

ROOT = Path(__file__).parents[2]
BYTECODE = Path(tempfile.gettempdir(), "django-q-bench-bytecode")
"""Where Python keeps what it compiled. A machine that is told to keep none compiles Django in every start of a process,
and has half as much memory again in holes that this leaves: not what anybody runs."""

PLACE = "BENCH_PLACE"
"""Environment variable: the place, as JSON."""

Database = Literal["sqlite", "postgres"]
Sending = Literal["call", "broker", "bulk"]


@dataclass(frozen=True, kw_only=True)
class Trial:
    """One task queue, set up in one way."""

    peer: str = "ours"
    """A module in `peers`."""
    tasks: int = 20_000
    """Number of tasks that are enqueued and executed."""
    measured: int = 0
    """Number of executions to wait for; 0: all."""
    workers: int = 2
    """Worker processes; Procrastinate has coroutines instead."""
    database: Database = "sqlite"
    """Django's database: our results and, with `{"orm": "default"}`, our queue."""
    settings: dict[str, Any] = field(default_factory=dict)
    """Keys of our `Q_CLUSTER` besides `name` and `workers`; without a broker it is Redis."""
    sending: Sending = "call"
    """Call that enqueues our tasks: one call each, one call with `broker=` each, or one `async_bulk` for all."""
    seconds: float = 0
    """Sleep of each task."""
    payload: int = 0
    """Bytes of an argument that each task gets."""
    rows: int = 0
    """`Task` rows that there are before the first task."""

    @property
    def own_broker(self) -> bool:
        """Return True if the settings name a broker other than our Redis."""
        return bool(self.settings.keys() & {"broker_class", *entry_points(group="djangoq.brokers").names})

    def scaled(self, factor: float) -> Trial:
        """The same with more of everything that is counted, or less; a few tasks stay a few."""
        few = min(self.tasks, 20)
        return replace(
            self,
            tasks=max(int(self.tasks * factor), few),
            measured=int(self.measured * factor),
            rows=int(self.rows * factor),
        )


@dataclass(frozen=True, kw_only=True)
class Place:
    """A trial, its folder and its servers."""

    trial: Trial
    folder: str
    """An empty folder."""
    redis: str
    """The URL of an empty Redis; empty when none was asked for."""
    database: dict[str, Any]
    """The entry of Django's `DATABASES`."""

    @property
    def records(self) -> Path:
        """The file that the task body writes to."""
        return Path(self.folder, "records")

    @property
    def log(self) -> Path:
        """The file that takes what all processes print."""
        return Path(self.folder, "log")

    def environment(self) -> dict[str, str]:
        """For processes that measure, enqueue and work here."""
        inherited = {name: value for name, value in os.environ.items() if name != "PYTHONDONTWRITEBYTECODE"}
        return inherited | {
            "PYTHONPYCACHEPREFIX": str(BYTECODE),
            PLACE: json.dumps(asdict(self)),
            body.RECORDS: str(self.records),
            "DJANGO_SETTINGS_MODULE": "tests.bench.settings",
            "PYTHONPATH": os.pathsep.join(filter(None, [str(ROOT), os.environ.get("PYTHONPATH")])),
        }

    @classmethod
    def here(cls) -> Self:
        """The place this process was started for."""
        told = json.loads(os.environ[PLACE])
        return cls(**told | {"trial": Trial(**told["trial"])})
