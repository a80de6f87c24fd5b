"""Scheduler process: sends the tasks of due schedules and does the maintenance.

The package `schedules` decides which schedules are due. This module runs it in a process.
"""

from __future__ import annotations

import time
from typing import TYPE_CHECKING, ClassVar, Final

from django.db import DatabaseError, InterfaceError

from django_q import reporters
from django_q.brokers import consuming_broker, get_broker
from django_q.clock import now as clock_now
from django_q.cluster.activity import ActivityWriter
from django_q.cluster.commands import CommandReader
from django_q.cluster.importing import Imports
from django_q.cluster.ipc.state import Phase
from django_q.cluster.maintenance import Maintenance
from django_q.cluster.process import ClusterProcess, Wiring
from django_q.cluster.statistics import Publisher
from django_q.databases.connections import close_connections
from django_q.databases.errors import is_unavailable
from django_q.exceptions import ScheduleError
from django_q.log import messages as log
from django_q.pacing import Backoff
from django_q.records.maintenance import RecordMaintenance
from django_q.schedules import synchronising
from django_q.schedules.due import DueSchedules
from django_q.schedules.reasons import reason_of
from django_q.schedules.synchronising import synchronise
from django_q.schedules.zone import restore_moments
from django_q.workflows.batch_maintenance import BatchMaintenance

if TYPE_CHECKING:
    from django_q.schedules.scheduler_pass import Pass

POLL_SECONDS: Final = 1.0
"""Interval of the checks for due schedules. A new schedule is found within this time."""

LOCKED_RETRY_SECONDS: Final = 0.05
"""Pause if another cluster has locked all due rows."""

CLOCK_MARGIN_SECONDS: Final = 0.001
"""Delay of a check after the time of a slot, because clocks differ."""


class Scheduler(ClusterProcess):
    """Sends due tasks, maintains the tables, and publishes the cluster's `Stat` unless the pusher does."""

    role: ClassVar[str] = "scheduler"

    def __init__(self, wiring: Wiring) -> None:
        super().__init__(wiring)
        self.sending = Backoff()
        self.due_at = 0.0
        self.imports = Imports(self.state)
        self.broken: dict[int, type[BaseException]] = {}
        """Errors that were logged for schedules that could not be sent since, by id."""
        self.synchronised = False
        """True if the declared schedules were synchronised."""

    @classmethod
    def prepare(cls) -> None:
        """Find the modules that may declare schedules, without importing them."""
        synchronising.modules()

    def start(self) -> None:
        """Create the broker and the jobs of this process."""
        self.broker = get_broker(settings=self.settings)
        self.publisher = Publisher(self.name, self.wiring, self.broker, here=not self.broker.keeps_statistics)
        self.schedules = DueSchedules(self.settings, self.broker, importing=self.imports.of)
        batches = BatchMaintenance(self.settings, self.broker, consuming_broker(self.settings).list_keys)
        records = RecordMaintenance(self.settings, self.broker)
        self.commands = CommandReader(self.name, self.wiring)
        activity = ActivityWriter(self.state, self.wiring.cluster_id)
        jobs = (batches.step, records.step, activity.step)
        self.maintenance = Maintenance(self.name, self.settings, self.state, *jobs)
        if not self.settings.scheduler:
            self.due_at = float("inf")
            self.state.scheduled = 1

    def announce(self) -> None:
        """Log that the scheduler is ready."""
        log.scheduler.ready(self.name)

    def step(self) -> bool:
        """Send due tasks, do maintenance, publish the statistics, and sleep until the next of these is due."""
        if self.state.phase >= Phase.STOPPING:
            return False
        self.commands.step()
        self.publisher.step()
        if time.monotonic() >= self.due_at:
            self.due_at = time.monotonic() + self._send_due()
        self.maintenance.step()
        now = time.monotonic()
        self.wiring.wake_scheduler.wait(max(0.0, min(self._next_step_at(), now + POLL_SECONDS) - now))
        return True

    def stop(self) -> None:
        """Publish the state of the cluster once more."""
        self.publisher.publish()
        log.scheduler.stopped(self.name)

    def _next_step_at(self) -> float:
        return min(self.publisher.due, self.due_at, self.commands.due, self.maintenance.due)

    # schedules

    def _send_due(self) -> float:
        """Send the tasks of due schedules. Return the seconds until the next check."""
        try:
            if not self.synchronised:
                self._mark_fatal()
                self._restore_moments()
                self._synchronise()
            this_pass = self.schedules.run_pass()
        except (DatabaseError, InterfaceError) as error:
            close_connections()
            return self._failed(error)
        except Exception as error:  # noqa: BLE001 - a schedule must not stop the statistics and the maintenance
            if self.sending.failed():
                log.scheduler.failed(self.name, error)
                self._report(error)
            return self.sending.seconds
        self._log_pass(this_pass)
        if this_pass.own_queue_error is not None:
            return self._failed(this_pass.own_queue_error)
        if self.sending.succeeded():
            log.scheduler.resumed(self.name)
        self.state.scheduled = int(not this_pass.more)
        if this_pass.more:
            return 0.0 if this_pass.sent or this_pass.skipped or this_pass.broken else LOCKED_RETRY_SECONDS
        if this_pass.next is None:
            return POLL_SECONDS
        return min(POLL_SECONDS, max(0.0, (this_pass.next - clock_now()).total_seconds() + CLOCK_MARGIN_SECONDS))

    def _failed(self, error: Exception) -> float:
        if self.sending.failed():
            log.scheduler.unavailable(self.name, error)
            if not is_unavailable(error):
                self._report(error)
        return self.sending.seconds

    def _report(self, error: BaseException) -> None:
        reporters.report_in_time(error, self.settings)

    def _mark_fatal(self) -> None:
        """Mark the module or schedule that ended the previous process."""
        if module := self.imports.block_module():
            log.schedule.module_skipped(self.name, module)
        if pk := self.imports.take_schedule():
            self.schedules.mark_fatal(pk, clock_now())

    def _restore_moments(self) -> None:
        if count := restore_moments(self.schedules.db):
            log.scheduler.times_converted(self.name, count)

    def _synchronise(self) -> None:
        self.imports.import_modules()
        try:
            changes = synchronise(self.settings)
        except Exception as error:
            if is_unavailable(error):
                raise
            self.synchronised = True  # schedules are sent without the changes
            log.schedule.not_synchronised(self.name, error)
            self._report(error)
            return
        for done in ("created", "updated", "removed"):
            if names := getattr(changes, done):
                log.schedule.declared(self.name, done, names)
        for name, error in changes.broken:
            if name in changes.modules:
                log.schedule.module_not_imported(self.name, name, error)
            else:
                log.schedule.invalid(self.name, name, reason_of(error))
            self._report(error)
        self.synchronised = True

    def _log_pass(self, this_pass: Pass) -> None:
        for schedule, package in this_pass.sent:
            if self.broken.pop(schedule.pk, None) is not None:
                log.schedule.resumed(self.name, schedule)
            log.schedule.sent(self.name, schedule, package)
        for schedule in this_pass.skipped:
            log.schedule.skipped(self.name, schedule)
        for schedule, error in this_pass.broken:
            if self.broken.get(schedule.pk) is not type(error):  # the text may contain an address
                self.broken[schedule.pk] = type(error)
                reason = reason_of(error)
                log.schedule.not_sent(self.name, schedule, reason)
                failure = ScheduleError(f"Schedule [{schedule.name or schedule.pk}] cannot be sent: {reason}")
                failure.__cause__ = error
                self._report(failure)
