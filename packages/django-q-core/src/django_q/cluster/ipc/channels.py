"""Message queue between processes, with many writers, many readers and no lock.

Any number of processes read one end of a pair of Unix sockets. The kernel passes each message to exactly one of them. A
killed reader cannot block the others, because it holds no lock; a reader of a `multiprocessing.Queue` does.
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
"""Maximum size of a message that is sent in the socket itself. A larger one is sent as a file descriptor."""

BUFFER_BYTES = 208 * 1024
"""Requested size of a socket buffer. Linux doubles it and accounts at least 1 KiB per message: about 330 outcomes fit.
With the default, 160 fit, and the buffer would be full before a database has saved as many."""

MIN_INLINE_BYTES = 128
"""Size of a message that any socket accepts."""

RETRY_SECONDS = 0.005
"""Pause between two attempts to send, on systems that do not report when the buffer has room."""

RECEIVE_SECONDS = 1.0
"""Maximum time of a blocking `receive`. Processes check the phase of the cluster in between."""

_KIND = getattr(socket, "SOCK_SEQPACKET", socket.SOCK_DGRAM)
_FD = struct.calcsize("i")
_INLINE, _FILE = b"\0", b"\1"


def unlinked_file() -> int:
    """Open an empty file without a name, in memory if the system supports it.

    The system deletes it when the last process has closed it.

    Returns:
        The file descriptor.
    """
    if hasattr(os, "memfd_create"):
        with suppress(OSError):  # a sandbox may refuse it
            return os.memfd_create("django-q", os.MFD_CLOEXEC)
    with tempfile.TemporaryFile() as file:  # macOS
        return os.dup(file.fileno())


def _socketpair() -> tuple[socket.socket, socket.socket]:
    try:
        return socket.socketpair(socket.AF_UNIX, _KIND)
    except OSError:  # macOS defines SOCK_SEQPACKET and does not support it
        return socket.socketpair(socket.AF_UNIX, socket.SOCK_DGRAM)


def _ask_for_room(end: socket.socket, option: int) -> None:
    """Request `BUFFER_BYTES`, or less if the system refuses the request instead of reducing it."""
    size = BUFFER_BYTES
    while size >= MAX_INLINE_BYTES:
        try:
            end.setsockopt(socket.SOL_SOCKET, option, size)
        except OSError:
            size //= 2
        else:
            return


def _largest_message(reader: socket.socket, writer: socket.socket) -> int:
    """Return the maximum size of a message that is sent in the socket itself, in bytes.

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
    """Queue in one direction. Any process may `send` or `receive`; one receiver gets each message, in the order sent.

    Args:
        padding: bytes of the buffer that a message in a file descriptor occupies. This limits the number of such
            messages in the channel.
    """

    def __init__(self, padding: int = 0) -> None:
        self._reader, self._writer = _socketpair()
        _ask_for_room(self._writer, socket.SO_SNDBUF)
        if self._writer.type == socket.SOCK_DGRAM:  # macOS: messages wait in the buffer of the reader
            _ask_for_room(self._reader, socket.SO_RCVBUF)
        self._inline = _largest_message(self._reader, self._writer)
        self._padding = bytes(min(padding, self._inline))
        seconds = struct.pack("ll", int(RECEIVE_SECONDS), int(RECEIVE_SECONDS % 1 * 1e6))
        self._reader.setsockopt(socket.SOL_SOCKET, socket.SO_RCVTIMEO, seconds)

    def send(self, message: bytes, *, wait: float = 0.0) -> bool:
        """Append a message to the queue.

        Args:
            message: any bytes, of any length.
            wait: seconds to wait for room in the buffer; 0 returns at once.

        Returns:
            True if it was sent; False if there was no room in time.
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
            can_poll = True
            try:
                self._writer.sendmsg(parts, rights, socket.MSG_DONTWAIT)
            except (BlockingIOError, InterruptedError):
                pass
            except OSError as error:
                # macOS: the reader's buffer is full, and `poll` checks only the writer's.
                if error.errno != errno.ENOBUFS:
                    raise
                can_poll = False
            else:
                return True
            left = deadline - time.monotonic() if wait else 0.0
            if left <= 0:
                return False
            if not can_poll:
                time.sleep(min(left, RETRY_SECONDS))
                continue
            poll = select.poll()
            poll.register(self._writer, select.POLLOUT)
            poll.poll(min(left, RECEIVE_SECONDS) * 1000)

    def receive(self, *, block: bool = True) -> bytes | None:
        """Take the next message.

        Args:
            block: True to wait up to `RECEIVE_SECONDS` for a message.

        Returns:
            The message, or None if there was none in time.
        """
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
        """Wait for a message without taking it. Another reader may take it first.

        Args:
            seconds: maximum time.

        Returns:
            True if there is a message.
        """
        poll = select.poll()
        poll.register(self._reader, select.POLLIN)
        return bool(poll.poll(max(seconds, 0.0) * 1000))

    def files(self) -> tuple[int, int]:
        """Return the file descriptors of reader and writer."""
        return self._reader.fileno(), self._writer.fileno()

    def close(self) -> None:
        """Close both ends in this process. Other processes keep theirs."""
        self._reader.close()
        self._writer.close()


def _read_file(rights: list[tuple[int, int, bytes]]) -> bytes:
    (_, _, handle), *_ = rights
    (file,) = struct.unpack("i", handle[:_FD])
    with os.fdopen(file, "rb") as body:
        body.seek(0)  # the file position is shared with the sender
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
