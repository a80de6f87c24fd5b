"""A queue between processes: message boundaries, many writers, many readers, no lock.

Any number of processes read one end of a pair of Unix sockets. The kernel hands each message to exactly one of them, so
a reader that is killed harms nobody: it holds no lock, as a reader of a `multiprocessing.Queue` does.
"""

from __future__ import annotations

import array
import errno
import math
import os
import select
import socket
import struct
import tempfile
import time
from contextlib import suppress

MAX_INLINE_BYTES = 16 * 1024
"""Bytes up to which a message travels in the socket itself; a larger one travels as a file descriptor."""

BUFFER_BYTES = 208 * 1024
"""Bytes that are asked for. Linux gives twice as many, and takes a kilobyte and more for any message: there is room for
330 outcomes, where what it gives unasked is full with 160, before a database has saved as many."""

MIN_INLINE_BYTES = 128
"""Bytes that any socket takes in one message."""

RETRY_SECONDS = 0.005
"""Pause between two attempts to send where the system does not tell when there is room."""

RECEIVE_SECONDS = 1.0
"""Seconds that a blocking `receive` waits; processes look at the cluster's phase in between."""

_KIND = getattr(socket, "SOCK_SEQPACKET", socket.SOCK_DGRAM)
_FD = struct.calcsize("i")
_INLINE, _FILE = b"\0", b"\1"


def unlinked_file() -> int:
    """Open an empty file without a name, in memory where the system can; it vanishes with its last holder."""
    if hasattr(os, "memfd_create"):
        with suppress(OSError):  # a sandbox may refuse it
            return os.memfd_create("django-q", os.MFD_CLOEXEC)
    with tempfile.TemporaryFile() as file:  # macOS
        return os.dup(file.fileno())


def _socketpair() -> tuple[socket.socket, socket.socket]:
    try:
        return socket.socketpair(socket.AF_UNIX, _KIND)
    except OSError:  # macOS knows the name but not the thing
        return socket.socketpair(socket.AF_UNIX, socket.SOCK_DGRAM)


def _ask_for_room(end: socket.socket, option: int) -> None:
    """Ask for `BUFFER_BYTES`, or for less where the system refuses instead of granting what it can."""
    size = BUFFER_BYTES
    while size >= MAX_INLINE_BYTES:
        try:
            end.setsockopt(socket.SOL_SOCKET, option, size)
        except OSError:
            size //= 2
        else:
            return


def _largest_message(reader: socket.socket, writer: socket.socket) -> int:
    """Return the bytes up to which a message travels in the socket itself.

    This is `MAX_INLINE_BYTES`, unless the buffers are smaller. Then it is a quarter of the largest message, so that
    several messages fit.
    """
    size = MAX_INLINE_BYTES
    while size > MIN_INLINE_BYTES:
        try:
            writer.sendmsg([_INLINE, bytes(size)], [], socket.MSG_DONTWAIT)
        except OSError:
            size //= 2
        else:
            reader.recv(size + 1, socket.MSG_DONTWAIT)
            return size if size == MAX_INLINE_BYTES else max(size // 4, MIN_INLINE_BYTES)
    return MIN_INLINE_BYTES


class Channel:
    """One direction: any process may `send`, any may `receive`; a message reaches one receiver, in the order sent.

    Args:
        padding: bytes of the room that a message takes which travels as a file descriptor: so many of these may wait.
    """

    def __init__(self, padding: int = 0) -> None:
        self._reader, self._writer = _socketpair()
        _ask_for_room(self._writer, socket.SO_SNDBUF)
        if self._writer.type == socket.SOCK_DGRAM:  # macOS: messages wait in the room of the reader
            _ask_for_room(self._reader, socket.SO_RCVBUF)
        self._inline = _largest_message(self._reader, self._writer)
        self._padding = bytes(min(padding, self._inline))
        seconds = struct.pack("ll", int(RECEIVE_SECONDS), int(RECEIVE_SECONDS % 1 * 1e6))
        self._reader.setsockopt(socket.SOL_SOCKET, socket.SO_RCVTIMEO, seconds)

    def send(self, message: bytes, *, wait: float = 0.0) -> bool:
        """Put `message` at the end of the queue.

        Args:
            message: any bytes, of any length.
            wait: seconds to wait for room; 0 returns at once.

        Returns:
            Whether it was sent: False means that there was no room in time.
        """
        if len(message) <= self._inline:
            try:
                return self._send([_INLINE, message], [], wait)
            except OSError as error:
                if error.errno != errno.EMSGSIZE:
                    raise
        file = unlinked_file()
        try:
            with os.fdopen(os.dup(file), "wb") as body:
                body.write(message)
            handle = array.array("i", [file])
            return self._send([_FILE, self._padding], [(socket.SOL_SOCKET, socket.SCM_RIGHTS, handle)], wait)
        finally:
            os.close(file)

    def _send(self, parts: list[bytes], rights: list[tuple[int, int, array.array[int]]], wait: float) -> bool:
        deadline = time.monotonic() + wait if wait else 0.0
        while True:
            tells_when = True
            try:
                self._writer.sendmsg(parts, rights, socket.MSG_DONTWAIT)
            except (BlockingIOError, InterruptedError):
                pass
            except OSError as error:
                if error.errno != errno.ENOBUFS:  # macOS: the reader has no room, and `poll` knows only the writer's
                    raise
                tells_when = False
            else:
                return True
            left = deadline - time.monotonic() if wait else 0.0
            if left <= 0:
                return False
            if not tells_when:
                time.sleep(min(left, RETRY_SECONDS))
                continue
            poll = select.poll()
            poll.register(self._writer, select.POLLOUT)
            poll.poll(min(left, RECEIVE_SECONDS) * 1000)

    def receive(self, *, block: bool = True) -> bytes | None:
        """The next message, or None when there was none for `RECEIVE_SECONDS` (at once, unless `block`)."""
        try:
            data, rights, _, _ = self._reader.recvmsg(
                MAX_INLINE_BYTES + 1, socket.CMSG_SPACE(_FD), 0 if block else socket.MSG_DONTWAIT
            )
        except (BlockingIOError, InterruptedError):
            return None
        if data[:1] == _INLINE:
            return data[1:]
        return _read_file(rights)

    def wait(self, seconds: float) -> bool:
        """Sleep until there is a message, `seconds` at most; whether there is. Another reader may take it first."""
        poll = select.poll()
        poll.register(self._reader, select.POLLIN)
        return bool(poll.poll(max(seconds, 0.0) * 1000))

    def files(self) -> tuple[int, int]:
        """Return the descriptors of both ends."""
        return self._reader.fileno(), self._writer.fileno()

    def close(self) -> None:
        """Give both ends back to the system; other processes keep theirs."""
        self._reader.close()
        self._writer.close()


def _read_file(rights: list[tuple[int, int, bytes]]) -> bytes:
    (_, _, handle), *_ = rights
    (file,) = struct.unpack("i", handle[:_FD])
    with os.fdopen(file, "rb") as body:
        body.seek(0)  # the position is the sender's: it is shared
        return body.read()


class Wakeup:
    """Event that wakes one process. `set` never blocks, and several calls before a `wait` count as one."""

    def __init__(self) -> None:
        self._reader, self._writer = _socketpair()

    def set(self) -> None:
        """Wake the process that waits, or the next one that calls `wait`."""
        with suppress(OSError):  # no room: it has been set often enough
            self._writer.send(b"!", socket.MSG_DONTWAIT)

    def wait(self, seconds: float) -> bool:
        """Sleep until the event is set, then clear it.

        Args:
            seconds: maximum time; may be infinite.

        Returns:
            True if the event was set in time.
        """
        poll = select.poll()
        poll.register(self._reader, select.POLLIN)
        if not poll.poll(None if seconds == math.inf else max(seconds, 0.0) * 1000):
            return False
        self.clear()
        return True

    def clear(self) -> None:
        """Reset the event."""
        try:
            while self._reader.recv(64, socket.MSG_DONTWAIT):
                pass
        except (BlockingIOError, InterruptedError):
            return

    def fileno(self) -> int:
        """Return the descriptor for `select` and `multiprocessing.connection.wait`."""
        return self._reader.fileno()

    def writer_fileno(self) -> int:
        """Return the descriptor for `signal.set_wakeup_fd`."""
        return self._writer.fileno()
