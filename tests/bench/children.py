"""Starts the processes of `child`."""

from __future__ import annotations

import json
import subprocess
from contextlib import contextmanager
from typing import TYPE_CHECKING, Any, NamedTuple

from .workers import CHILD

if TYPE_CHECKING:
    from collections.abc import Iterator

    from .servers import Servers
    from .trial import Place, Trial

Figures = dict[str, float]
"""By name; what a name means is in docs/contributing/benchmarks.md."""


class ChildFailed(Exception):
    """A process that was to enqueue or to set up has failed."""


def run(place: Place, *arguments: object) -> Any:
    """Run a child, and return what it found out.

    Raises:
        ChildFailed: with the output of the process.
    """
    command = [*CHILD, *map(str, arguments)]
    done = subprocess.run(command, env=place.environment(), capture_output=True, text=True, check=False)
    if done.returncode:
        raise ChildFailed(f"{' '.join(command)}: {done.stderr[-3000:]}")
    return json.loads(done.stdout.splitlines()[-1])


class Filled(NamedTuple):
    """A place where all tasks wait, and how fast they were enqueued."""

    place: Place
    sent: Figures


@contextmanager
def filled(servers: Servers, trial: Trial) -> Iterator[Filled]:
    with servers.place(trial) as place:
        run(place, "setup")
        yield Filled(place, run(place, "send"))
