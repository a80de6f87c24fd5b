"""Reads commands from the database: passes cancellations to the sentinel and the workers, and stops the cluster."""

from __future__ import annotations

import os
import signal
import time
from contextlib import suppress
from datetime import timedelta
from typing import TYPE_CHECKING, Any, Final

from django.db import connections, router

from django_q.clock import in_project_time
from django_q.clock import now as clock_now
from django_q.cluster.ipc.messages import Cancel, Kind, pack
from django_q.databases.connections import close_connections
from django_q.databases.errors import is_unavailable
from django_q.databases.statements import Condition, chunks, delete, is_any, select
from django_q.databases.writable import WriteProbe
from django_q.log import messages as log
from django_q.models import Command
from django_q.pacing import Backoff

if TYPE_CHECKING:
    from collections.abc import Iterable
    from datetime import datetime

    from .process import Wiring

INTERVAL_SECONDS: Final = 1.0
"""Interval of the checks for new commands."""

WINDOW: Final = timedelta(seconds=60)
"""Age up to which a check reads commands. A transaction may commit one long after its time of creation."""

RELOAD_SECONDS: Final = 60.0
"""Interval at which all commands are read, and expired ones are deleted."""


class CommandReader:
    """Job of the scheduler process. A check without commands is one indexed query.

    Args:
        name: name of the process, for the log.
        wiring: of the cluster.
    """

    def __init__(self, name: str, wiring: Wiring) -> None:
        self.name, self.wiring, self.marks, self.channel = name, wiring, wiring.marks, wiring.commands
        self.using: str = router.db_for_write(Command)
        self.probe = WriteProbe(Command, self.using)
        self.backoff = Backoff()
        self.due = 0.0
        """Time of the next check (`time.monotonic`, seconds)."""
        self.reload_at = 0.0
        """Time at which all commands are read next (`time.monotonic`, seconds)."""
        self.known: set[int] = set()
        """Ids of the commands that were passed on."""
        self.has_stopped = False
        """True if a command has stopped this cluster. Another signal would shorten the stop."""

    def step(self) -> None:
        """Check for new commands, if that is due. An error is logged, and the next check tries again."""
        began = time.monotonic()
        if began < self.due:
            return
        try:
            self.read()
        except Exception as error:
            if not is_unavailable(error):
                raise
            close_connections()
            if self.backoff.failed():
                log.scheduler.commands_unavailable(self.name, error)
        else:
            if self.backoff.succeeded():
                log.scheduler.commands_resumed(self.name)
        self.due = began + max(INTERVAL_SECONDS, self.backoff.seconds)

    def read(self) -> None:
        """Read commands, mark their targets, and pass new ones to the sentinel.

        Raises:
            django.db.DatabaseError: `is_unavailable`: try again later.
        """
        using = self.using
        self.probe.step()  # new commands are missing on a server that became a replica
        reload = time.monotonic() >= self.reload_at
        if reload:
            expired = Condition("{expires_at} < %s", [adapted(clock_now(), using)])
            if is_any(Command, using, expired):  # an idle cluster does not lock a file of SQLite
                delete(Command, using, expired)
            condition = Condition("{id} > %s", [0])
        else:
            condition = Condition("{created_at} > %s", [adapted(clock_now() - WINDOW, using)])
        ids = {row[0] for row in select(Command, using, "{id}", condition)}
        for part in chunks(sorted(ids - self.known)):
            self.pass_on(Command._base_manager.using(using).filter(pk__in=part))
        self.known |= ids
        self.marks.loaded()
        if reload:
            self.reload_at = time.monotonic() + RELOAD_SECONDS
            self.known &= ids
            if not ids:
                self.marks.clear()

    def pass_on(self, commands: Iterable[Command]) -> None:
        """Mark the targets of commands for the workers, then send the commands to the sentinel.

        Workers skip marked tasks that wait, and the sentinel interrupts those that run.
        """
        for command in commands:
            if command.kind == Command.Kind.STOP_CLUSTER:
                self.stop_cluster(command)
                continue
            self.marks.add([(command.kind, command.target)])
            message = pack(Kind.CANCEL, Cancel(command.kind, command.target, command.created_at))
            if not self.channel.send(message, wait=INTERVAL_SECONDS):
                log.scheduler.command_not_passed(self.name, command.target)

    def stop_cluster(self, command: Command) -> None:
        """Ask the outermost process of this cluster to stop, if the command is for it and has not expired."""
        state = self.wiring.state
        if command.target != self.wiring.cluster_id or in_project_time(command.expires_at) <= clock_now():
            return
        if self.has_stopped or state.stop_requests:
            return
        self.has_stopped = True
        log.scheduler.stop_commanded(self.name)
        with suppress(ProcessLookupError):
            os.kill(state.parent, signal.SIGTERM)


def adapted(moment: datetime, using: str) -> Any:
    """Return a time as a parameter of a statement."""
    return connections[using].ops.adapt_datetimefield_value(in_project_time(moment))
