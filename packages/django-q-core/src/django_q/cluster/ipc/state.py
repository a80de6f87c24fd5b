"""What the processes of one cluster know of each other, in shared memory.

Every number has exactly one writer, so there is no lock that a killed process could keep.
"""

from __future__ import annotations

import enum
import mmap
import os
import struct
import time
from multiprocessing import reduction
from typing import Any

from django_q.cluster.ipc.channels import MAX_INLINE_BYTES, unlinked_file


class Phase(enum.IntEnum):
    """Where a cluster is in its life."""

    STARTING = 0
    RUNNING = 1
    STOPPING = 2
    """Nothing new is fetched; workers finish what is in the channel and run follow-ups."""
    ENDING = 3
    """The workers are told to exit: nothing may be sent to them any more."""
    STOPPED = 4


class WorkerState(enum.IntEnum):
    """What a worker is doing."""

    ABSENT = 0
    IDLE = 1
    BUSY = 2
    SENDING = 3
    RECYCLED = 4
    """It exits, because it has done its share of tasks or holds too much memory."""
    EXITING = 5
    """It exits for another reason."""


IDLE_BUFFER_BYTES = 2 * 2**20
"""Memory that the file of a message in flight keeps between large messages."""

_HEADER = 25
_SLOT = 8
_WORD = 8
# whole numbers of the header: who writes each is said where it is a property below
(
    _PHASE, _SENTINEL, _PUSHER, _MONITOR, _SCHEDULER, _REINCARNATIONS,
    _PUSHED, _WAKE_AT, _RECEIVED, _HOOKS, _PAUSED, _STOP_REQUESTS, _PARENT, _WITHDRAWN, _BACKLOG, _SAVED,
    _IMPORTING,
) = range(17)  # fmt: skip
_RENEWED, _BORN, _STOP_BY = 17, 18, 19  # seconds, floats
_HEARTBEATS = {"sentinel": 20, "pusher": 21, "monitor": 22, "scheduler": 23}
_POSTPONED = 24
# whole numbers of a slot
_STATE, _PID, _TAKEN, _SENT = range(4)
_DEADLINE, _SINCE, _HEARTBEAT = 4, 5, 6  # seconds, floats
_STAGE = 7
_UNPICKLING, _LOOKING_UP = 1, 2  # values of _STAGE; 0 is everything else


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
    """Time of a process's last progress. Written by that process; by the sentinel while there is no such process.

    Args:
        floats: the shared memory.
        index: place of the time in it.
    """

    def __init__(self, floats: Any, index: int) -> None:
        self._floats, self._index = floats, index

    def beat(self) -> None:
        """Record progress now."""
        self._floats[self._index] = time.monotonic()

    def reset(self) -> None:
        """Forget the progress of the previous process."""
        self._floats[self._index] = 0.0

    @property
    def last(self) -> float:
        """Time of the last progress (`time.monotonic`, seconds); 0.0 until the process has started."""
        return self._floats[self._index]


class ClusterState:
    """The shared memory of one cluster with a slot for each worker.

    Args:
        workers: how many slots.
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
    reincarnations = _number(_REINCARNATIONS, "Processes replaced so far. Written by the sentinel.")
    pushed = _number(_PUSHED, "Number of the last task pushed. Written by the pusher.")
    withdrawn = _number(_WITHDRAWN, "Up to this number, tasks that nobody took wait no more. Written by the pusher.")
    wake_at = _number(
        _WAKE_AT, "Low-water mark: the worker that takes this task wakes the pusher (0: none). Written by the pusher."
    )
    received = _number(_RECEIVED, "Outcomes received so far. Written by the monitor.")
    saved = _number(_SAVED, "Successes saved so far. Written by the monitor.")
    importing = _number(_IMPORTING, "What the scheduler imports, see `cluster.importing`; 0: nothing. Written by it.")
    stop_requests = _number(_STOP_REQUESTS, "How often the cluster was asked to stop. Written by the parent.")
    # The monitor's flags are cleared by the sentinel when the monitor has died.
    paused = _number(_PAUSED, "1 while results cannot be saved: then no new tasks are fetched. Written by the monitor.")
    hooks = _number(_HOOKS, "Hooks and other follow-ups in progress. Written by the monitor.")
    backlog = _number(_BACKLOG, "Outcomes that the monitor holds and has not settled. Written before `received`.")
    postponed = _number(_POSTPONED, "Outcomes of the backlog that only wait for the cache. Written by the monitor.")
    renewed = _seconds(_RENEWED, "When all leases were last renewed (`time.monotonic`). Written by the pusher.")
    born = _seconds(_BORN, "When the cluster started (seconds since the epoch). Written by the parent.")
    stop_by = _seconds(
        _STOP_BY, "When running tasks are interrupted (`time.monotonic`); 0.0 until a stop. Written by the sentinel."
    )

    @property
    def taken(self) -> int:
        """Number of the last task that a worker took: tasks are taken in the order of their numbers."""
        return max((slot.taken for slot in self.slots), default=0)

    @property
    def waiting(self) -> int:
        """Tasks pushed that wait for a worker."""
        return max(0, self.pushed - max(self.taken, self.withdrawn))

    @property
    def sent(self) -> int:
        """Outcomes sent by the workers so far."""
        return sum(slot.sent for slot in self.slots)

    @property
    def unsaved(self) -> int:
        """Outcomes sent by the workers and not yet received by the monitor."""
        return max(0, self.sent - self.received)

    @property
    def busy(self) -> bool:
        """Whether tasks wait or run."""
        return bool(self.waiting) or any(slot.state == WorkerState.BUSY for slot in self.slots)

    @property
    def idle(self) -> bool:
        """Whether nothing waits, runs, or is to be saved."""
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
        """Process id of the worker, 0 when there is none. Written by the sentinel."""
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
        """Outcomes sent from this slot so far."""
        return self._ints[self._at + _SENT]

    @property
    def deadline(self) -> float:
        """When the sentinel kills the worker (`time.monotonic`, seconds), 0.0 for never."""
        return self._floats[self._at + _DEADLINE]

    @deadline.setter
    def deadline(self, seconds: float) -> None:
        self._floats[self._at + _DEADLINE] = seconds

    @property
    def since(self) -> float:
        """When the worker took the message it works on (`time.monotonic`, seconds)."""
        return self._floats[self._at + _SINCE]

    @property
    def unpickling(self) -> bool:
        """True while the worker unpickles the package of its task: its arguments may end the process."""
        return self._ints[self._at + _STAGE] == _UNPICKLING

    @property
    def looking_up(self) -> bool:
        """True while the worker looks up whether its task has succeeded before: the task has not begun."""
        return self._ints[self._at + _STAGE] == _LOOKING_UP

    def begin_unpickling(self, deadline: float) -> None:
        """Note that the worker unpickles a package.

        Args:
            deadline: when the sentinel kills the worker (`time.monotonic`, seconds).
        """
        self._floats[self._at + _DEADLINE] = deadline
        self._ints[self._at + _STAGE] = _UNPICKLING

    def end_unpickling(self) -> None:
        """Note that the package is unpickled: no deadline any more."""
        self._floats[self._at + _DEADLINE] = 0.0
        self._ints[self._at + _STAGE] = 0

    def begin_look_up(self) -> None:
        """Note that the worker looks up an earlier success."""
        self._ints[self._at + _STAGE] = _LOOKING_UP

    def end_look_up(self) -> None:
        """Note that the look-up has ended: no deadline any more."""
        self._floats[self._at + _DEADLINE] = 0.0
        self._ints[self._at + _STAGE] = 0

    def begin(self, message: bytes, now: float, number: int = 0) -> None:
        """Store the message in flight and mark the worker busy.

        Args:
            message: what the worker received.
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
        """The work is done and its outcome is about to be sent: no deadline any more."""
        self._floats[self._at + _DEADLINE] = 0.0
        self._ints[self._at + _STATE] = WorkerState.SENDING

    def finish(self, *, sent: bool) -> None:
        """Be idle again; `sent` tells whether an outcome went to the monitor."""
        if sent:
            self._ints[self._at + _SENT] += 1
        self._ints[self._at + _STATE] = WorkerState.IDLE

    def exit_by(self, seconds: float) -> None:
        """Announce that the worker exits; its task in flight stays readable.

        Args:
            seconds: when the sentinel kills the worker (`time.monotonic`).
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
