"""The workers of a trial, from their start to their end."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
import time
from contextlib import suppress
from typing import TYPE_CHECKING

from . import body
from .family import Family

if TYPE_CHECKING:
    from collections.abc import Callable, Sequence
    from typing import Self

    from .trial import Place

STEP = 0.1
"""Seconds between two looks at the processor time of the workers."""

QUIET = 0.025
"""Seconds of processor time in a step, up to which the processes count as idle."""

QUIET_STEPS = 6
"""So many quiet steps mean that all is saved and acknowledged."""

SETTLE_SECONDS = 120
"""Time limit of saving and acknowledging after the last task."""

STOP_SECONDS = 20
"""Time limit of the stop."""

CHILD = (sys.executable, "-m", "tests.bench.child")


class Unfinished(Exception):
    """Not everything that was enqueued was executed in time."""


class Workers:
    """Running workers; killed at the end of the block unless they have stopped.

    Args:
        place: where they work.
        command: what starts them, unless it is what the peer says.
    """

    def __init__(self, place: Place, command: Sequence[str] = (*CHILD, "work")) -> None:
        self.place = place
        self.command = command

    def __enter__(self) -> Self:
        self.began = time.time()
        with self.place.log.open("ab") as log:
            self.process = subprocess.Popen(
                self.command, env=self.place.environment(), stdout=log, stderr=log, start_new_session=True
            )
        self.family = Family(self.process.pid)
        return self

    def __exit__(self, *error: object) -> None:
        with suppress(ProcessLookupError):
            os.killpg(self.process.pid, signal.SIGKILL)
        self.process.wait()

    def wait_for(self, count: int, within: float) -> None:
        """Wait until so many tasks have been executed.

        Raises:
            Unfinished: they were not, or the workers ended.
        """
        self._wait(lambda: body.count(self.place.records) >= count, within, count)

    def settle(self) -> float:
        """Wait until the whole family has gone quiet.

        Returns:
            When it last worked, in seconds since the epoch.

        Raises:
            Unfinished: it never rests.
        """
        deadline = time.monotonic() + SETTLE_SECONDS
        last, quiet, before = time.time(), 0, self.family.cpu()
        while quiet < QUIET_STEPS:
            if time.monotonic() > deadline:
                raise Unfinished(f"{self.place.trial.peer}: still at work {SETTLE_SECONDS} s after the last task")
            time.sleep(STEP)
            now = self.family.cpu()
            quiet = quiet + 1 if now - before <= QUIET else 0
            if not quiet:
                last = time.time()
            before = now
        return last

    def stop(self) -> bool:
        """Send SIGTERM; whether they end in time."""
        os.killpg(self.process.pid, signal.SIGTERM)
        try:
            self.process.wait(STOP_SECONDS)
        except subprocess.TimeoutExpired:
            return False
        return True

    def _wait(self, true: Callable[[], bool], within: float, count: int) -> None:
        deadline = time.monotonic() + within
        while not true():
            if self.process.poll() is not None or time.monotonic() > deadline:
                there = body.count(self.place.records)
                raise Unfinished(
                    f"{self.place.trial.peer}: {there} of {count} tasks executed in {within:.0f} s. "
                    f"{self.place.log.read_text(errors='replace')[-3000:]}"
                )
            time.sleep(0.005)
