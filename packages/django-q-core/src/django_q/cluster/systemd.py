"""Notifies systemd, or another service manager, about the state of a cluster (`man sd_notify`)."""

from __future__ import annotations

import os
import socket
import time
from contextlib import suppress
from typing import Final

SOCKET_VARIABLE: Final = "NOTIFY_SOCKET"
WATCHDOG_VARIABLE: Final = "WATCHDOG_USEC"
WATCHDOG_PID_VARIABLE: Final = "WATCHDOG_PID"

READY: Final = "READY=1"
STOPPING: Final = "STOPPING=1"
ALIVE: Final = "WATCHDOG=1"

SEND_SECONDS: Final = 0.1
"""Maximum time of a notification, if the queue of the socket is full."""


class Notifier:
    """Sends notifications to the socket that `NOTIFY_SOCKET` names. Without it, all methods do nothing.

    Programs that tasks start do not inherit the variables, so that they cannot notify in the name of the cluster.
    """

    def __init__(self) -> None:
        self.address = os.environ.pop(SOCKET_VARIABLE, "")
        interval = os.environ.pop(WATCHDOG_VARIABLE, "")
        watched = os.environ.pop(WATCHDOG_PID_VARIABLE, "")
        is_watched = bool(self.address) and interval.isdecimal() and watched in ("", str(os.getpid()))
        self.interval = int(interval) / 2_000_000 if is_watched else 0.0
        """Interval of the watchdog's notifications in seconds: half of its timeout. 0.0 without a watchdog."""
        self.due = 0.0
        """Time of the next one (`time.monotonic`, seconds)."""

    def ready(self) -> None:
        """Notify that all processes have started."""
        self._send(READY)

    def stopping(self) -> None:
        """Notify that the cluster stops."""
        self._send(STOPPING)

    def alive(self) -> None:
        """Notify the watchdog that the cluster makes progress, if that is due."""
        if self.interval and time.monotonic() >= self.due:
            self.due = time.monotonic() + self.interval
            self._send(ALIVE)

    def seconds_to_wait(self, longest: float) -> float:
        """Return the time until the next notification is due, at most *longest*, in seconds."""
        return max(0.0, min(longest, self.due - time.monotonic())) if self.interval else longest

    def _send(self, state: str) -> None:
        if not self.address:
            return
        address = f"\0{self.address[1:]}" if self.address.startswith("@") else self.address
        with suppress(OSError), socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM) as client:
            client.settimeout(SEND_SECONDS)
            client.sendto(state.encode(), address)
