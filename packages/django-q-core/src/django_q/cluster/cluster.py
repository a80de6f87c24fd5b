"""Outermost process of a cluster: starts the sentinel, forwards signals and waits for the end."""

from __future__ import annotations

import itertools
import math
import os
import signal
import socket
import time
import uuid
from multiprocessing import connection
from typing import TYPE_CHECKING, Any, Final, cast

from django_q.brokers import get_broker
from django_q.cluster.ipc.channels import Wakeup
from django_q.cluster.ipc.lifeline import Lifeline
from django_q.cluster.ipc.state import ClusterState, Phase
from django_q.cluster.system.process_group import kill_group
from django_q.databases.connections import close_all
from django_q.exceptions import ClusterDied
from django_q.log import messages as log
from django_q.settings import current_settings
from django_q.settings.source import CLUSTER_NAME_VARIABLE
from django_q.text import one_line

from .guard import SentinelGuard
from .launch import Launch
from .logging_setup import name_of, set_up_logging
from .pool import context_of, exit_text, runs
from .preload import preload
from .sentinel import main
from .startup import wait_for_servers
from .statistics import stat_of
from .systemd import Notifier

if TYPE_CHECKING:
    from multiprocessing.process import BaseProcess
    from types import FrameType

    from django_q.brokers import Broker
    from django_q.cluster.probes.listener import Listener
    from django_q.settings import ClusterSettings
    from django_q.status import Stat

_numbers = itertools.count(1)

SIGNALS = (signal.SIGTERM, signal.SIGINT)

WATCH_SECONDS: Final = 0.025
"""Interval of the alarm during a stop. Its handler runs even while a full pipe of the log blocks this process."""

END_SECONDS: Final = 5.0
"""Maximum time from the end of the sentinel to the end of this process."""


class Flag:
    """Event with the commonly used methods of `multiprocessing.Event`, and without its lock.

    Args:
        happened: returns a true value if the event has happened.
        make_it_happen: triggers the event; None if `set` has no effect.
    """

    def __init__(self, happened: Any, make_it_happen: Any = None) -> None:
        self._happened, self._make_it_happen = happened, make_it_happen

    def is_set(self) -> bool:
        """Return True if the event has happened."""
        return bool(self._happened())

    def set(self) -> None:
        """Trigger the event."""
        if self._make_it_happen is not None:
            self._make_it_happen()

    def wait(self, timeout: float | None = None) -> bool:
        """Wait for the event.

        Args:
            timeout: maximum time in seconds; None waits without limit.

        Returns:
            True if it has happened.
        """
        deadline = None if timeout is None else time.monotonic() + timeout
        while not self.is_set() and (deadline is None or time.monotonic() < deadline):
            time.sleep(0.01)
        return self.is_set()


class Cluster:
    """Cluster of processes that execute tasks.

    Args:
        broker: broker of the tasks; None creates the broker of the settings.
        settings: None uses the settings of the broker, or the current settings.
        listener: socket of the probes; None without them.
    """

    def __init__(
        self,
        broker: Broker | None = None,
        *,
        settings: ClusterSettings | None = None,
        listener: Listener | None = None,
    ) -> None:
        self.settings = settings or (broker.settings if broker is not None else current_settings())
        self._broker, self._listener = broker, listener
        self.cluster_id = str(uuid.uuid4())
        self.host = socket.gethostname()
        self.pid = os.getpid()
        self.timeout = self.settings.timeout
        self.sentinel: BaseProcess | None = None
        """Process of the sentinel (`multiprocessing`)."""
        self.state = ClusterState(self.settings.workers)
        self.state.parent = self.pid
        self._control, self._started = Wakeup(), Wakeup()
        self._lifeline: Lifeline | None = None
        self._guard: SentinelGuard | None = None
        self._notifier: Notifier | None = None
        self._handles_signals = False
        """True if this object handles the signals of the process."""
        self._kill_by = math.inf
        """Time at which a sentinel that hangs is killed without a message in the log (`time.monotonic`, seconds)."""
        self._end_by = math.inf
        """Time at which this process exits even if its log is blocked (`time.monotonic`, seconds)."""
        self.start_event = Flag(lambda: self.state.phase >= Phase.RUNNING)
        """Set when all processes have started."""
        self.stop_event = Flag(lambda: self.state.stop_requests > 0, self._ask_to_stop)
        """Set to start the stop procedure."""

    @property
    def broker(self) -> Broker:
        """Broker of the cluster."""
        if self._broker is None:
            self._broker = get_broker(settings=self.settings)
        return self._broker

    @property
    def name(self) -> str:
        """Readable name of the cluster, made from its id."""
        return name_of(self.cluster_id)

    # start and stop

    def wait_for_servers(self, *, fail_fast: bool = False) -> None:
        """Wait until the database and the broker answer, and close the connections to them.

        Args:
            fail_fast: True to raise an exception instead of waiting.

        Raises:
            ClusterNotStarted: a server is unavailable and `fail_fast` is True, or the database is not migrated.
        """
        set_up_logging(self.settings, self.cluster_id)
        wait_for_servers(self.settings, self.broker, fail_fast=fail_fast)
        self.broker.disconnect()

    def start(self) -> int:
        """Start the cluster and wait until all its processes have started.

        Returns:
            The id of this process, which is the outermost of the cluster.

        Raises:
            ClusterDied: the cluster ended while it started, or the system refused to start it.
        """
        self._announce()
        return self._start()

    def _announce(self) -> None:
        set_up_logging(self.settings, self.cluster_id)
        log.cluster.starting(self.name)

    def _start(self) -> int:
        self.state.born = time.time()
        self._lifeline = Lifeline()
        process: BaseProcess = cast("Any", context_of(self.settings.start_method)).Process(
            target=Launch(
                main, self.settings, self.cluster_id, self.state, self._control, self._started, self._lifeline,
                self._listener,
                environment={CLUSTER_NAME_VARIABLE: self.settings.list_key},
            ),
            name=f"Process-{next(_numbers)}",
        )  # fmt: skip
        self.state.heartbeats["sentinel"].reset()
        try:
            process.start()
        except OSError as error:
            raise ClusterDied(f"The cluster cannot start its sentinel ({one_line(error)}): try again later.") from error
        if self._listener is not None:
            self._listener.close()  # the sentinel keeps it open
        self.sentinel, self._guard = process, SentinelGuard(self.settings, self.state)
        while not self.start_event.is_set():
            self._wait_for(self._started)
            if not process.is_alive() and not self.start_event.is_set():
                self._kill_groups()
                raise ClusterDied(f"The cluster ended while it started: {exit_text(process.exitcode or 0)}.")
        self._started.clear()
        log.cluster.running(self.name, self.settings.list_key)
        return self.pid

    def stop(self) -> bool:
        """Start the stop procedure and wait for its end.

        Returns:
            False if the cluster was not running.
        """
        if self.sentinel is None or not self.sentinel.is_alive():
            return False
        log.cluster.stopping(self.name)
        self._ask_to_stop()
        while self.sentinel.is_alive():
            self._wait_for()
        self._log_end()
        return True

    def run(self, *, once: bool = False, burst: bool = False) -> int:
        """Start the cluster, handle signals and return when the cluster has ended. `manage.py qcluster` calls it.

        Args:
            once: True to stop the cluster as soon as it has started.
            burst: True to stop it as soon as all tasks and schedules that are due are processed.

        Returns:
            The exit status for the process: 0 if the cluster has stopped on request.
        """
        self._notifier = Notifier()
        self.state.burst = int(burst)
        if self.settings.start_method == "fork":
            preload(self.settings)
        wakeup = Wakeup()
        os.set_blocking(wakeup.writer_fileno(), False)
        before = {number: signal.signal(number, self.sig_handler) for number in SIGNALS}
        before[signal.SIGALRM] = signal.signal(signal.SIGALRM, self._watch_end)
        self._handles_signals = True
        previous_fd = signal.set_wakeup_fd(wakeup.writer_fileno(), warn_on_full_buffer=False)
        try:
            self._announce()
            close_all()  # log handlers may have opened connections
            self._start()
            self._notifier.ready()
            if once:
                self._ask_to_stop()
            return self._wait(wakeup)
        finally:
            self._handles_signals = False
            signal.setitimer(signal.ITIMER_REAL, 0.0)
            signal.set_wakeup_fd(previous_fd)
            for number, handler in before.items():
                signal.signal(number, handler)

    def sig_handler(self, signum: int, frame: FrameType | None) -> None:
        """Request a stop. The sentinel executes it."""
        self._ask_to_stop()
        self._set_alarm()

    def _set_alarm(self) -> None:
        """Call `_watch_end` regularly from now on, if this object handles the signals of the process."""
        if self._handles_signals:
            signal.setitimer(signal.ITIMER_REAL, WATCH_SECONDS, WATCH_SECONDS)

    def _watch_end(self, signum: int, frame: FrameType | None) -> None:
        """Kill a sentinel that hangs, and exit soon after its end, unless `_wait_for` does it in time."""
        if os.getpid() != self.pid:
            return  # other processes inherit the handler
        reason = None if self._guard is None else self._guard.look()
        now = time.monotonic()
        if self.sentinel is not None and runs(self.sentinel):
            if reason is not None:
                self._kill_by = min(self._kill_by, now + WATCH_SECONDS / 2)
            if now >= self._kill_by and self.sentinel.pid:
                os.kill(self.sentinel.pid, signal.SIGKILL)
            return
        self._end_by = min(self._end_by, now + END_SECONDS)
        if self.state.stop_requests > 1:
            second = now if self._guard is None else self._guard.second_stop_by
            self._end_by = min(self._end_by, max(now, second) + WATCH_SECONDS)
        if now >= self._end_by:
            self._kill_groups()
            os._exit(0 if self._has_stopped_cleanly() else 1)

    def _has_stopped_cleanly(self) -> bool:
        return self.sentinel is not None and self.state.phase == Phase.STOPPED and self.sentinel.exitcode == 0

    def _wait(self, wakeup: Wakeup) -> int:
        assert self.sentinel is not None
        announced = False
        while self.sentinel.is_alive():
            if self.is_stopping and not announced:
                log.cluster.stopping(self.name)
                if self._notifier is not None:
                    self._notifier.stopping()
                announced = True
            self._wait_for(wakeup)
            wakeup.clear()
        return self._log_end()

    def _wait_for(self, *wakeups: Wakeup) -> None:
        """Wait until the sentinel ends, an event is set or a check is due; kill a sentinel that hangs."""
        assert self.sentinel is not None
        assert self._guard is not None
        watched = [self.sentinel.sentinel, *(wakeup.fileno() for wakeup in wakeups)]
        seconds = self._guard.seconds_to_wait()
        connection.wait(watched, seconds if self._notifier is None else self._notifier.seconds_to_wait(seconds))
        reason = self._guard.look()
        if reason is None and self._notifier is not None:
            self._notifier.alive()
        if reason is not None and self.sentinel.is_alive():
            self.sentinel.kill()
            self._set_alarm()
            log.cluster.sentinel_stalled(self.name, reason)
            self.sentinel.join()

    def _kill_groups(self) -> None:
        """Kill the process groups of the workers. The sentinel would do it, and has died."""
        for slot in self.state.slots:
            if slot.pid:
                kill_group(slot.pid)

    def _ask_to_stop(self) -> None:
        self.state.stop_requests += 1
        self._control.set()

    def _log_end(self) -> int:
        assert self.sentinel is not None
        self.sentinel.join()
        self._set_alarm()
        if self._has_stopped_cleanly():
            log.cluster.stopped(self.name)
            return 0
        self._kill_groups()
        log.cluster.sentinel_died(self.name, f"met {exit_text(self.sentinel.exitcode or 0)}")
        return 1

    # state

    @property
    def stat(self) -> Stat:
        """Current snapshot of the cluster."""
        return stat_of(self.state, self.cluster_id, self.settings)

    @property
    def is_starting(self) -> bool:
        """True if the cluster has started and is not complete yet."""
        return self.sentinel is not None and self.state.phase == Phase.STARTING

    @property
    def is_running(self) -> bool:
        """True if the cluster is complete and no stop was requested."""
        return self.state.phase == Phase.RUNNING and not self.stop_event.is_set()

    @property
    def is_stopping(self) -> bool:
        """True if a stop was requested and the cluster has not ended yet."""
        return self.stop_event.is_set() and not self.has_stopped

    @property
    def has_stopped(self) -> bool:
        """True if the cluster has ended after a start."""
        return self.sentinel is not None and not self.sentinel.is_alive()
