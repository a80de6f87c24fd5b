"""Maintenance of the tables. It runs in the scheduler process, so that it does not delay the saving of results."""

from __future__ import annotations

import time
from typing import TYPE_CHECKING, Final

from django.db import DatabaseError, InterfaceError

from django_q import reporters
from django_q.databases.connections import close_connections
from django_q.databases.errors import is_unavailable
from django_q.log import messages as log
from django_q.pacing import Backoff
from django_q.results.pruning import Pruner

if TYPE_CHECKING:
    from collections.abc import Callable, Sequence

    from django_q.cluster.ipc.state import ClusterState
    from django_q.settings import ClusterSettings

INTERVAL_SECONDS: Final = 1.0
"""Time between the starts of two steps."""

PAUSE_FACTOR: Final = 3
"""Length of the pause after a step in multiples of its duration: maintenance takes at most a quarter of the time."""


class Maintenance:
    """Prunes successes and does other jobs.

    It executes no statement while no success was saved and no surplus is known.

    Args:
        name: name of the process, for the log.
        settings: settings of the cluster.
        state: shared memory in which the monitor counts saved successes.
        *jobs: called in each step. An error of one does not prevent the others. Each decides how often it is active.
    """

    def __init__(self, name: str, settings: ClusterSettings, state: ClusterState, *jobs: Callable[[], None]) -> None:
        self.name, self.settings, self.state = name, settings, state
        self.pruner = Pruner(settings)
        self.jobs: tuple[Callable[[], None], ...] = (self._prune, *jobs)
        """Jobs of a step. A job without work executes no statement."""
        self.backoff = Backoff()
        self.due = 0.0
        """Time of the next step (`time.monotonic`, seconds)."""
        self._pruned_at = -1
        """Value of `state.saved` before the last pruning."""
        self._surplus = True
        """True if there may be successes to prune although none was saved."""

    def step(self) -> None:
        """Run the jobs if a step is due. An error is logged, and the next step tries again."""
        began = time.monotonic()
        if began < self.due:
            return
        errors = [error for job in self.jobs if (error := self._error_of(job)) is not None]
        if errors:
            self._failed(errors)
        elif self.backoff.succeeded():
            log.scheduler.maintenance_resumed(self.name)
        ended = time.monotonic()
        self.due = max(began + INTERVAL_SECONDS, ended + PAUSE_FACTOR * (ended - began), ended + self.backoff.seconds)

    @staticmethod
    def _error_of(job: Callable[[], None]) -> Exception | None:
        try:
            job()
        except Exception as error:  # noqa: BLE001 - routers and receivers are code of the project
            return error
        return None

    def _prune(self) -> None:
        saved = self.state.saved
        if saved == self._pruned_at and not self._surplus:
            return
        self._surplus = True  # in case it fails
        self._surplus = self.pruner.prune()
        self._pruned_at = saved

    def _failed(self, errors: Sequence[Exception]) -> None:
        if any(isinstance(error, (DatabaseError, InterfaceError)) for error in errors):
            close_connections()
        if not self.backoff.failed():
            return
        error, is_outage = errors[0], is_unavailable(errors[0])
        log.scheduler.maintenance_failed(self.name, error, with_traceback=not is_outage)
        if not is_outage:
            reporters.report_in_time(error, self.settings)
