"""Base class of a cluster's processes: start, loop and end."""

from __future__ import annotations

import os
import signal
import sys
from dataclasses import dataclass
from importlib import import_module
from multiprocessing import current_process
from typing import TYPE_CHECKING, Any, ClassVar

from django.conf import settings as django_settings
from django.db import reset_queries

from django_q import reporters, tracing
from django_q.caches.calls import CALL_TIMEOUT_SECONDS, CALLS
from django_q.cluster.metrics.sends import count_sends
from django_q.cluster.system.memory import keep_free_memory
from django_q.cluster.system.title import set_title
from django_q.log import messages as log
from django_q.settings.source import CLUSTER_NAME_VARIABLE

from . import sessions
from .logging_setup import set_up_logging

if TYPE_CHECKING:
    from types import FrameType

    from django_q.cluster.ipc.channels import Channel, Wakeup
    from django_q.cluster.ipc.lifeline import Lifeline
    from django_q.cluster.ipc.marks import CommandMarks
    from django_q.cluster.ipc.state import ClusterState, Heartbeat
    from django_q.cluster.metrics.tallies import Tallies
    from django_q.cluster.probes.listener import Listener
    from django_q.settings import ClusterSettings


@dataclass(frozen=True, kw_only=True)
class Wiring:
    """Shared resources passed to every process. All can be pickled, so that any start method works."""

    settings: ClusterSettings
    cluster_id: str
    state: ClusterState
    tasks: Channel
    """Pusher → workers."""
    results: Channel
    """Workers → monitor."""
    wake_pusher: Wakeup
    """Set by workers when the queue has room."""
    wake_scheduler: Wakeup
    """Set by the sentinel to wake the scheduler."""
    lifeline: Lifeline
    commands: Channel
    """Scheduler → sentinel."""
    marks: CommandMarks
    """Targets of commands."""
    listener: Listener | None = None
    """Socket of the probes; None without them."""
    tallies: Tallies | None = None
    """Counts for the metrics; None without them."""


class ClusterProcess:
    """Process of the cluster. `run` is the loop; the `step` of a subclass does the work."""

    role: ClassVar[str]
    serves_http: ClassVar[bool] = False
    """True if the process accepts connections of the probes."""
    limits_cache_calls: ClassVar[bool] = True
    """True if calls to a cache have a time limit in this process."""

    def __init__(self, wiring: Wiring, heartbeat: Heartbeat | None = None) -> None:
        self.settings = wiring.settings
        self.wiring = wiring
        self.state = wiring.state
        self.name = current_process().name
        self.heartbeat = heartbeat or wiring.state.heartbeats[self.role]
        """Written once per step. A step that waits repeatedly writes it itself."""

    @classmethod
    def prepare(cls) -> None:
        """Prepare data before the fork, so that each process inherits it."""

    def run(self) -> None:
        """Start, execute steps until the last one, and clean up."""
        self.start()
        self.heartbeat.beat()  # before the process is announced: from then on, `guard_timeout` applies to it
        self.announce()
        records_queries = django_settings.DEBUG
        try:
            while self.step():
                self.heartbeat.beat()
                self.wiring.lifeline.check()
                if records_queries:
                    reset_queries()
        finally:
            self.stop()

    def start(self) -> None:
        """Prepare the process. Called once, before the first step."""

    def announce(self) -> None:
        """Log that the process is ready. Called once, after `start`."""

    def step(self) -> bool:
        """Execute one iteration of the loop, of at most about a second.

        Returns:
            False to end the process.
        """
        raise NotImplementedError

    def stop(self) -> None:
        """Clean up. Called once, after the last step."""


def ignore_signals(*numbers: int) -> None:
    """Ignore signals with a handler that does nothing. Programs that a task starts would inherit `SIG_IGN`."""
    for number in numbers:
        signal.signal(number, do_nothing)


def do_nothing(signum: int, frame: FrameType | None) -> None:
    """Handle a signal that is ignored."""


def prepare(settings: ClusterSettings, cluster_id: str, role: str) -> None:
    """Initialise a process, forked or not: signals, connections, memory, log, title.

    Processes that an initialised process forks need a title only. This includes processes that a task forks.

    Args:
        settings: settings of the cluster.
        cluster_id: id of the cluster, for its log.
        role: role of the process, for its title.
    """
    os.environ[CLUSTER_NAME_VARIABLE] = settings.list_key
    sessions.begin(is_forked=settings.start_method != "spawn")  # a forkserver may have set Django up, too
    signal.set_wakeup_fd(-1)  # a forked process has inherited the parent's
    ignore_signals(signal.SIGINT, signal.SIGTERM)  # terminals and service managers send them to every process
    keep_free_memory()
    if settings.start_method != "fork":
        set_up_logging(settings, cluster_id)
    entitle(settings, role)


def entitle(settings: ClusterSettings, role: str) -> None:
    """Set the title of the process in the system's list of processes."""
    set_title(f"qcluster {settings.list_key} {role}")


def class_of(path: str) -> type[ClusterProcess]:
    """Import the class of a process.

    Args:
        path: `module:Class`.
    """
    module, _, qualname = path.partition(":")
    found: type[ClusterProcess] = getattr(import_module(module), qualname)
    return found


def main(path: str, wiring: Wiring, *args: Any) -> None:
    """Run a process of the cluster. Target of each process that the sentinel starts.

    Args:
        path: class of the process as `module:Class`. It is imported here, when Django is ready.
        wiring: shared resources of the cluster.
        *args: further arguments of the class.
    """
    try:
        _serve(path, wiring, *args)
    except BaseException as error:  # noqa: BLE001 - edge of the process: the sentinel starts another one
        log.process.crashed(current_process().name, error)
        reporters.report_in_time(error, wiring.settings)
        sys.exit(1)
    finally:
        reporters.flush(wiring.settings)
        tracing.flush(wiring.settings)


def _serve(path: str, wiring: Wiring, *args: Any) -> None:
    forked = wiring.settings.start_method == "fork"
    role = path.partition(":")[2].lower()
    if forked:
        wiring.lifeline.guard(forked=True)
        entitle(wiring.settings, role)
    else:
        prepare(wiring.settings, wiring.cluster_id, role)
    sessions.watch_forks()
    process = class_of(path)
    if wiring.listener is not None and not process.serves_http:
        wiring.listener.close()
    if wiring.tallies is not None:
        count_sends(wiring.tallies, process.role, *args)
    if process.limits_cache_calls:
        CALLS.limit(min(CALL_TIMEOUT_SECONDS, wiring.settings.guard_timeout / 4))
    process(wiring, *args).run()
