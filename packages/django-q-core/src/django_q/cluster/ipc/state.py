"""Shared memory of a cluster's processes: one writer per field, no locks.

A lock would stay locked when the process that holds it is killed.
"""

from __future__ import annotations

import enum
import mmap
import os
import struct
import time
from multiprocessing import reduction
from typing import Any

from django_q.cluster.ipc.activity import WORDS, ActivityTally
from django_q.cluster.ipc.channels import MAX_INLINE_BYTES, unlinked_file


class Phase(enum.IntEnum):
    """Phase in the life of a cluster."""

    STARTING = 0
    RUNNING = 1
    STOPPING = 2
    """Nothing is fetched. Workers execute the tasks in the channel and the follow-ups."""
    ENDING = 3
    """Workers exit. No process may send them messages."""
    STOPPED = 4


class WorkerState(enum.IntEnum):
    """Activity of a worker."""

    ABSENT = 0
    IDLE = 1
    BUSY = 2
    SENDING = 3
    RECYCLED = 4
    """The worker exits because of `recycle` or `max_rss`, or because a task has damaged it."""
    EXITING = 5
    """The worker exits for another reason."""


GRACE_SECONDS = 2.0
"""Grace period between the exception in a task that times out or is cancelled, and the kill of its worker."""

IDLE_BUFFER_BYTES = 2 * 2**20
"""Memory that the file of a message in flight keeps between large messages."""

_ACTIVITY = 29
_HEADER = _ACTIVITY + 2 * WORDS
_SLOT = 9
_WORD = 8
# Integers of the header. Each property below names the writer.
(
    _PHASE, _SENTINEL, _PUSHER, _MONITOR, _SCHEDULER, _REINCARNATIONS,
    _PUSHED, _WAKE_AT, _RECEIVED, _HOOKS, _PAUSED, _STOP_REQUESTS, _PARENT, _WITHDRAWN, _BACKLOG, _SAVED,
    _IMPORTING,
) = range(17)  # fmt: skip
_RENEWED, _BORN, _STOP_BY = 17, 18, 19  # seconds, floats
_HEARTBEATS = {"sentinel": 20, "pusher": 21, "monitor": 22, "scheduler": 23, "probes": 27}
_POSTPONED, _BURST, _SCHEDULED = 24, 25, 26
_PROBES = 28
# integers of a slot
_STATE, _PID, _TAKEN, _SENT = range(4)
_DEADLINE, _SINCE, _HEARTBEAT = 4, 5, 6  # seconds, floats
_STAGE, _CANCELLED = 7, 8
_UNPICKLING, _LOOKING_UP = 1, 2  # values of _STAGE; 0: neither


def _number(index: int, doc: str) -> Any:
    def read(self: ClusterState) -> int:
        return self._ints[index]

    def write(self: ClusterState, value: int) -> None:
        self._ints[index] = value

    return property(read, write, doc=doc)


def _seconds(index: int, doc: str) -> Any:
    def read(self: ClusterState) -> float:
        return self._floats[index]

    def write(self: ClusterState, value: float) -> None:
        self._floats[index] = value

    return property(read, write, doc=doc)


class Heartbeat:
    """Time of a process's last progress. The process writes it, or the sentinel while there is no such process.

    Args:
        floats: the shared memory, as floats.
        index: index of the time in it.
    """

    def __init__(self, floats: Any, index: int) -> None:
        self._floats, self._index = floats, index

    def beat(self) -> None:
        """Record progress now."""
        self._floats[self._index] = time.monotonic()

    def reset(self) -> None:
        """Clear the time of the previous process."""
        self._floats[self._index] = 0.0

    @property
    def last(self) -> float:
        """Time of the last progress (`time.monotonic`, seconds); 0.0 until the process has started."""
        return self._floats[self._index]


class ClusterState:
    """Shared memory of one cluster, with a slot for each worker.

    Args:
        workers: number of slots.
    """

    def __init__(self, workers: int) -> None:
        self.workers = workers
        self._open(unlinked_file(), [unlinked_file() for _ in range(workers)])

    def _open(self, file: int, in_flight_files: list[int]) -> None:
        size = _WORD * (_HEADER + _SLOT * self.workers)
        os.ftruncate(file, size)
        self._file, self._in_flight_files = file, in_flight_files
        self._map = memoryview(mmap.mmap(file, size))
        self._ints = self._map.cast("q")
        self._floats = self._map.cast("d")
        self.heartbeats = {role: Heartbeat(self._floats, index) for role, index in _HEARTBEATS.items()}
        self.activity, self.written_activity = (
            ActivityTally(self._ints, self._floats, _ACTIVITY + index * WORDS) for index in range(2)
        )
        self.slots = [Slot(self, index, file) for index, file in enumerate(in_flight_files)]

    def __getstate__(self) -> dict[str, Any]:
        return {"workers": self.workers, "files": [reduction.DupFd(fd) for fd in (self._file, *self._in_flight_files)]}

    def __setstate__(self, state: dict[str, Any]) -> None:
        self.workers = state["workers"]
        file, *in_flight_files = (each.detach() for each in state["files"])
        self._open(file, in_flight_files)

    phase = _number(_PHASE, "A `Phase`. Written by the sentinel.")
    parent = _number(_PARENT, "Process id of the outermost process. Written by it.")
    sentinel = _number(_SENTINEL, "Process id of the sentinel. Written by it.")
    pusher = _number(_PUSHER, "Process id of the pusher. Written by the sentinel.")
    monitor = _number(_MONITOR, "Process id of the monitor. Written by the sentinel.")
    scheduler = _number(_SCHEDULER, "Process id of the scheduler. Written by the sentinel.")
    probes = _number(_PROBES, "Process id of the probes; 0 without them. Written by the sentinel.")
    reincarnations = _number(_REINCARNATIONS, "Processes replaced so far. Written by the sentinel.")
    pushed = _number(_PUSHED, "Number of the last task pushed. Written by the pusher.")
    withdrawn = _number(_WITHDRAWN, "Highest task number withdrawn from the channel. Written by the pusher.")
    wake_at = _number(
        _WAKE_AT, "Low-water mark: the worker that takes this task wakes the pusher (0: none). Written by the pusher."
    )
    received = _number(_RECEIVED, "Outcomes received so far. Written by the monitor.")
    saved = _number(_SAVED, "Successes saved so far. Written by the monitor.")
    importing = _number(
        _IMPORTING, "Number of the import in progress, see `cluster.importing`; 0: none. Written by the scheduler."
    )
    stop_requests = _number(_STOP_REQUESTS, "Number of requests to stop the cluster. Written by the parent.")
    # The monitor's flags are cleared by the sentinel when the monitor has died.
    paused = _number(_PAUSED, "1 while results cannot be saved, so that no tasks are fetched. Written by the monitor.")
    hooks = _number(_HOOKS, "Hooks and other follow-ups in progress. Written by the monitor.")
    backlog = _number(_BACKLOG, "Outcomes that the monitor holds and has not finished. Written before `received`.")
    postponed = _number(_POSTPONED, "Outcomes of the backlog that wait for the cache only. Written by the monitor.")
    burst = _number(_BURST, "1 if the cluster stops as soon as nothing is due. Written by the parent.")
    scheduled = _number(_SCHEDULED, "1 if the last check found no more due schedules. Written by the scheduler.")
    renewed = _seconds(_RENEWED, "Time of the last renewal of all leases (`time.monotonic`). Written by the pusher.")
    born = _seconds(_BORN, "Start of the cluster (seconds since the epoch). Written by the parent.")
    stop_by = _seconds(
        _STOP_BY, "Time to interrupt running tasks (`time.monotonic`); 0.0 until a stop. Written by the sentinel."
    )

    @property
    def taken(self) -> int:
        """Number of the last task that a worker took. Workers take tasks in the order of their numbers."""
        return max((slot.taken for slot in self.slots), default=0)

    @property
    def waiting(self) -> int:
        """Number of pushed tasks that wait for a worker."""
        return max(0, self.pushed - max(self.taken, self.withdrawn))

    @property
    def sent(self) -> int:
        """Number of outcomes that the workers have sent."""
        return sum(slot.sent for slot in self.slots)

    @property
    def unsaved(self) -> int:
        """Number of outcomes that the workers have sent and the monitor has not received."""
        return max(0, self.sent - self.received)

    @property
    def busy(self) -> bool:
        """True if tasks wait or run."""
        return bool(self.waiting) or any(slot.state == WorkerState.BUSY for slot in self.slots)

    @property
    def quiet(self) -> bool:
        """True if no task waits or runs, all outcomes are saved and followed up, and no schedule is due."""
        sending = any(slot.state == WorkerState.SENDING for slot in self.slots)
        return self.idle and not sending and not self.backlog and not self.hooks and bool(self.scheduled)

    @property
    def idle(self) -> bool:
        """True if no task waits or runs, and no outcome is to be received."""
        return not self.busy and not self.unsaved


class Slot:
    """State of one worker: its phase, its deadline and its message in flight.

    When a worker has died, the sentinel reads the message from here.
    """

    def __init__(self, state: ClusterState, index: int, in_flight: int) -> None:
        self.index = index
        self._ints, self._floats = state._ints, state._floats
        self._at = _HEADER + _SLOT * index
        self._in_flight = in_flight
        self.heartbeat = Heartbeat(self._floats, self._at + _HEARTBEAT)

    @property
    def state(self) -> int:
        """A `WorkerState`."""
        return self._ints[self._at + _STATE]

    @state.setter
    def state(self, value: int) -> None:
        self._ints[self._at + _STATE] = value

    @property
    def pid(self) -> int:
        """Process id of the worker; 0 if there is none. Written by the sentinel."""
        return self._ints[self._at + _PID]

    @pid.setter
    def pid(self, value: int) -> None:
        self._ints[self._at + _PID] = value

    @property
    def taken(self) -> int:
        """Number of the last task that this worker took."""
        return self._ints[self._at + _TAKEN]

    @property
    def sent(self) -> int:
        """Number of outcomes that workers of this slot have sent."""
        return self._ints[self._at + _SENT]

    @property
    def deadline(self) -> float:
        """Time at which the sentinel kills the worker (`time.monotonic`, seconds); 0.0 for never."""
        return self._floats[self._at + _DEADLINE]

    @deadline.setter
    def deadline(self, seconds: float) -> None:
        self._floats[self._at + _DEADLINE] = seconds

    @property
    def cancelled(self) -> int:
        """Number of the last task of this worker that was cancelled while it ran. Written by the sentinel."""
        return self._ints[self._at + _CANCELLED]

    @cancelled.setter
    def cancelled(self, number: int) -> None:
        self._ints[self._at + _CANCELLED] = number

    @property
    def since(self) -> float:
        """Time at which the worker took its message in flight (`time.monotonic`, seconds)."""
        return self._floats[self._at + _SINCE]

    @property
    def unpickling(self) -> bool:
        """True while the worker unpickles its package: the arguments may end the process."""
        return self._ints[self._at + _STAGE] == _UNPICKLING

    @property
    def looking_up(self) -> bool:
        """True while the worker looks up an earlier success of its task. The task has not begun."""
        return self._ints[self._at + _STAGE] == _LOOKING_UP

    def begin_unpickling(self, deadline: float) -> None:
        """Record that the worker unpickles a package.

        Args:
            deadline: time at which the sentinel kills the worker (`time.monotonic`, seconds).
        """
        self._floats[self._at + _DEADLINE] = deadline
        self._ints[self._at + _STAGE] = _UNPICKLING

    def end_unpickling(self) -> None:
        """Record that the package is unpickled, and remove the deadline."""
        self._floats[self._at + _DEADLINE] = 0.0
        self._ints[self._at + _STAGE] = 0

    def begin_look_up(self) -> None:
        """Record that the worker looks up an earlier success."""
        self._ints[self._at + _STAGE] = _LOOKING_UP

    def end_look_up(self) -> None:
        """Record the end of the look-up, and remove the deadline."""
        self._floats[self._at + _DEADLINE] = 0.0
        self._ints[self._at + _STAGE] = 0

    def begin(self, message: bytes, now: float, number: int = 0) -> None:
        """Store the message in flight and mark the worker busy.

        Args:
            message: the message that the worker received.
            now: `time.monotonic()`, seconds.
            number: the task's number; 0 if the message is no task.
        """
        length = struct.pack("<Q", len(message))
        if len(message) > MAX_INLINE_BYTES:
            os.pwrite(self._in_flight, message, len(length))
            os.pwrite(self._in_flight, length, 0)
        else:
            os.pwrite(self._in_flight, length + message, 0)
        self._floats[self._at + _DEADLINE] = 0.0
        self._floats[self._at + _SINCE] = now
        self._ints[self._at + _STAGE] = 0
        self._ints[self._at + _STATE] = WorkerState.BUSY
        if number:
            self._ints[self._at + _TAKEN] = number

    def sending(self) -> None:
        """Record that the work is done and its outcome is sent next, and remove the deadline."""
        self._floats[self._at + _DEADLINE] = 0.0
        self._ints[self._at + _STATE] = WorkerState.SENDING

    def finish(self, *, sent: bool) -> None:
        """Mark the worker idle.

        Args:
            sent: True if an outcome was sent to the monitor.
        """
        if sent:
            self._ints[self._at + _SENT] += 1
        self._ints[self._at + _STATE] = WorkerState.IDLE

    def exit_by(self, seconds: float) -> None:
        """Record that the worker exits. Its message in flight stays readable.

        Args:
            seconds: time at which the sentinel kills the worker (`time.monotonic`).
        """
        if self.state not in (WorkerState.BUSY, WorkerState.SENDING, WorkerState.RECYCLED):
            self.state = WorkerState.EXITING
        self.deadline = seconds

    def message(self) -> bytes:
        """Return the message in flight, or the last one if the worker is idle."""
        (length,) = struct.unpack("<Q", os.pread(self._in_flight, 8, 0))
        return os.pread(self._in_flight, length, 8)

    def trim_buffer(self) -> None:
        """Free the memory of a large message beyond `IDLE_BUFFER_BYTES`."""
        os.ftruncate(self._in_flight, IDLE_BUFFER_BYTES)
