"""Measure one task queue and print its figures as one line of JSON.

hatch run bench:run ours
hatch run bench:run ours --database postgres --settings '{"orm": "default"}'
hatch run bench:run huey --tasks 5000
"""

from __future__ import annotations

import argparse
import json
import sys
from typing import TYPE_CHECKING, Any

from . import children, peers
from .figures import drain, idle, latency, memory
from .servers import Servers
from .trial import Trial
from .workers import Workers

if TYPE_CHECKING:
    from collections.abc import Sequence


def measure(servers: Servers, trial: Trial, *, seconds: float, paced: int) -> dict[str, Any]:
    """All figures of a trial, one after another.

    Args:
        servers: that it may use.
        trial: what is measured.
        seconds: for which idle workers are looked at.
        paced: tasks whose latency is taken.
    """
    with servers.place(trial) as place:
        children.run(place, "setup")
        figures = children.run(place, "send")
        with Workers(place) as workers:
            figures |= drain(workers) | memory(workers)
            figures |= idle(workers, servers, seconds) | latency(workers, paced)
            figures["stop"] = "ended" if workers.stop() else "killed"
    return figures


def arguments(words: Sequence[str] | None = None) -> argparse.Namespace:
    """Read the command line."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("peer", choices=peers.SERVERS)
    parser.add_argument("--tasks", type=int, default=Trial.tasks, help="how many are enqueued and executed")
    parser.add_argument("--workers", type=int, default=Trial.workers)
    parser.add_argument("--database", choices=["sqlite", "postgres"], default=Trial.database)
    parser.add_argument("--settings", type=json.loads, default={}, help="of ours: JSON that joins Q_CLUSTER")
    parser.add_argument("--sending", choices=["call", "broker", "bulk"], default=Trial.sending, help="of ours")
    parser.add_argument("--idle", type=float, default=5, help="seconds for which idle workers are looked at")
    parser.add_argument("--paced", type=int, default=200, help="tasks whose latency is taken")
    return parser.parse_args(words)


def main() -> None:
    """Run by hand."""
    told = arguments()
    trial = Trial(
        peer=told.peer,
        tasks=told.tasks,
        workers=told.workers,
        database=told.database,
        settings=told.settings,
        sending=told.sending,
    )
    with Servers() as servers:
        figures = measure(servers, trial, seconds=told.idle, paced=told.paced)
    print(json.dumps({"peer": trial.peer, "n": trial.tasks, **figures}))


if __name__ == "__main__":
    sys.exit(main())
