"""What every process of a cluster has in common: how it starts, loops and ends."""

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

from django_q import reporters
from django_q.caches.calls import CALL_TIMEOUT_SECONDS, CALLS
from django_q.cluster.system.memory import keep_free_memory
from django_q.cluster.system.title import set_title

from . import log, sessions

if TYPE_CHECKING:
    from types import FrameType

    from django_q.cluster.ipc.channels import Bell, Channel
    from django_q.cluster.ipc.lifeline import Lifeline
    from django_q.cluster.ipc.state import ClusterState, Heartbeat
    from django_q.settings import ClusterSettings


@dataclass(frozen=True, kw_only=True)
class Wiring:
    """What the sentinel hands to each process it makes; all of it pickles, so that any start method works."""

    settings: ClusterSettings
    cluster_id: str
    state: ClusterState
    tasks: Channel
    """Pusher → workers."""
    results: Channel
    """Workers → monitor."""
    hungry: Bell
    """Workers → pusher: there is room again."""
    alarm: Bell
    """Sentinel → scheduler: look up."""
    lifeline: Lifeline


class ClusterProcess:
    """One process of the cluster: `run` loops, a `step` is what makes it a pusher, a worker, …."""

    role: ClassVar[str]
    limits_cache_calls: ClassVar[bool] = True
    """True if the process does not wait long for a cache that does not answer."""

    def __init__(self, wiring: Wiring, heartbeat: Heartbeat | None = None) -> None:
        self.settings = wiring.settings
        self.wiring = wiring
        self.state = wiring.state
        self.name = current_process().name
        self.heartbeat = heartbeat or wiring.state.heartbeats[self.role]
        """Beats once a step; a step that waits for others in turns beats itself."""

    @classmethod
    def prepare(cls) -> None:
        """What can be found out before the process is forked, so that a successor need not."""

    def run(self) -> None:
        """Start, step until told to stop, and clean up."""
        self.start()
        self.heartbeat.beat()
        try:
            while self.step():
                self.heartbeat.beat()
                self.wiring.lifeline.check()
                if django_settings.DEBUG:
                    reset_queries()
        finally:
            self.stop()

    def start(self) -> None:
        """What is done once, before the first step."""

    def step(self) -> bool:
        """One turn of the loop, of about a second at the most; False ends the process."""
        raise NotImplementedError

    def stop(self) -> None:
        """What is done once, after the last step."""


def ignore_signals() -> None:
    """Leave stopping to the sentinel, though the terminal or the service manager signals every process.

    A handler, not `SIG_IGN`: programs that a task starts must not inherit deaf ears.
    """

    def nothing(signum: int, frame: FrameType | None) -> None:
        return

    signal.set_wakeup_fd(-1)  # a fork was born with its parent's
    signal.signal(signal.SIGINT, nothing)
    signal.signal(signal.SIGTERM, nothing)


def prepare(settings: ClusterSettings, role: str) -> None:
    """Make a fresh process, forked or spawned, one of ours: signals, connections, memory, log, title.

    What a prepared process forks is prepared but for its title. That includes a process that a task forks.
    """
    os.environ["Q_CLUSTER_NAME"] = settings.list_key
    sessions.begin(is_forked=settings.start_method != "spawn")  # a forkserver may have set Django up, too
    ignore_signals()
    keep_free_memory()
    if settings.start_method != "fork":
        log.prepare(settings)
    entitle(settings, role)


def entitle(settings: ClusterSettings, role: str) -> None:
    """Show in the system's list what the process is."""
    set_title(f"qcluster {settings.list_key} {role}")


def class_of(path: str) -> type[ClusterProcess]:
    """Import a kind of process.

    Args:
        path: `module:Class`.
    """
    module, _, qualname = path.partition(":")
    found: type[ClusterProcess] = getattr(import_module(module), qualname)
    return found


def main(path: str, wiring: Wiring, *args: Any) -> None:
    """The target of each process that the sentinel makes.

    Args:
        path: the class of the process as `module:Class`; it is imported here, once Django is ready.
        wiring: what connects it to the others.
        *args: further arguments of the class.
    """
    try:
        _serve(path, wiring, *args)
    except BaseException as error:  # noqa: BLE001 - the edge of the process: the sentinel starts another one
        log.crashed(current_process().name, error)
        reporters.report(error, wiring.settings)
        sys.exit(1)


def _serve(path: str, wiring: Wiring, *args: Any) -> None:
    forked = wiring.settings.start_method == "fork"
    role = path.partition(":")[2].lower()
    if forked:
        wiring.lifeline.guard(forked=True)
        entitle(wiring.settings, role)
    else:
        prepare(wiring.settings, role)
    sessions.watch_forks()
    process = class_of(path)
    if process.limits_cache_calls:
        CALLS.limit(min(CALL_TIMEOUT_SECONDS, wiring.settings.guard_timeout / 4))
    process(wiring, *args).run()
