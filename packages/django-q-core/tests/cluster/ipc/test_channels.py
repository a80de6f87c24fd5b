"""A channel keeps messages complete, ordered and separate, even if a process is killed."""

from __future__ import annotations

import errno
import math
import multiprocessing
import os
import pickle
import signal
import socket
import sys
import time
from concurrent.futures import ThreadPoolExecutor

import pytest
from django_q.cluster.ipc import channels
from django_q.cluster.ipc.channels import MAX_INLINE_BYTES, Channel, Wakeup, unlinked_file


@pytest.fixture
def channel():
    channel = Channel()
    yield channel
    channel.close()


@pytest.mark.parametrize("size", [0, 1, MAX_INLINE_BYTES - 1, MAX_INLINE_BYTES, MAX_INLINE_BYTES + 1, 5_000_000])
def test_message_of_any_size_arrives_unchanged(channel, size):
    message = os.urandom(size)
    assert channel.send(message)
    assert channel.receive(block=False) == message


def test_messages_arrive_in_the_order_sent(channel):
    messages = [bytes([number]) * (number * 1000) for number in range(40)]
    for message in messages:
        assert channel.send(message)
    assert [channel.receive(block=False) for _ in messages] == messages


def test_empty_channel_returns_none_if_not_blocking(channel):
    began = time.monotonic()
    assert channel.receive(block=False) is None
    assert time.monotonic() - began < 0.5


def test_send_to_a_full_channel_returns_false(channel):
    sent = 0
    while channel.send(b"x" * 1000):
        sent += 1
    assert sent > 50
    assert channel.receive(block=False) == b"x" * 1000
    assert not channel.send(b"x" * MAX_INLINE_BYTES, wait=0.01) or sent


@pytest.mark.skipif(sys.platform != "linux", reason="other systems count the room of a socket in their own way")
def test_channel_has_more_room_than_a_default_socket(channel):
    reader, writer = socket.socketpair(socket.AF_UNIX, socket.SOCK_SEQPACKET)
    with reader, writer:
        granted = writer.getsockopt(socket.SOL_SOCKET, socket.SO_SNDBUF)
    sent = 0
    while channel.send(b"x" * 500):
        sent += 1
    assert sent * 1000 > granted


@pytest.mark.skipif(sys.platform != "linux", reason="other systems count the room of a socket in their own way")
def test_padding_limits_the_number_of_large_messages():
    """Without padding, they would fill the memory while the database is slow."""
    channel, sent = Channel(padding=4096), 0
    while channel.send(bytes(MAX_INLINE_BYTES + 1)):
        sent += 1
    channel.close()
    assert 20 < sent < 100


def test_killed_reader_does_not_block_other_readers(channel):
    """In the public editions, a dead reader keeps the lock of the queue."""
    context = multiprocessing.get_context("fork")
    readers = [context.Process(target=channel.receive, daemon=True) for _ in range(4)]
    for reader in readers:
        reader.start()
    for reader in readers:
        os.kill(reader.pid, signal.SIGKILL)
        reader.join()
    channel.send(b"still here")
    assert channel.receive() == b"still here"


def _echo(source: Channel, target: Channel) -> None:
    while (message := source.receive()) != b"stop":
        if message is not None:
            target.send(message, wait=5)


@pytest.mark.parametrize("method", ["fork", "spawn", "forkserver"])
def test_channel_reaches_processes_of_any_start_method(channel, method):
    back = Channel()
    process = multiprocessing.get_context(method).Process(target=_echo, args=(channel, back))
    process.start()
    large = os.urandom(100_000)
    channel.send(b"small")
    channel.send(large)
    replies = []
    deadline = time.monotonic() + 30
    while len(replies) < 2 and time.monotonic() < deadline:
        if (message := back.receive()) is not None:
            replies.append(message)
    channel.send(b"stop")
    process.join()
    assert replies == [b"small", large]


def test_each_message_reaches_one_reader(channel):
    context = multiprocessing.get_context("fork")
    back = Channel()
    readers = [context.Process(target=_echo, args=(channel, back)) for _ in range(3)]
    for reader in readers:
        reader.start()
    received = []
    for number in range(500):
        assert channel.send(pickle.dumps(number), wait=5)
        while (message := back.receive(block=False)) is not None:
            received.append(pickle.loads(message))
    for _ in readers:
        channel.send(b"stop", wait=5)
    deadline = time.monotonic() + 10
    while len(received) < 500 and time.monotonic() < deadline:
        if (message := back.receive()) is not None:
            received.append(pickle.loads(message))
    for reader in readers:
        reader.join()
    assert sorted(received) == list(range(500))


def test_wakeup_that_is_set_twice_wakes_once():
    wakeup = Wakeup()
    assert not wakeup.wait(0)
    wakeup.set()
    wakeup.set()
    assert wakeup.wait(0)
    assert not wakeup.wait(0)


def test_wakeup_ends_a_wait_without_limit():
    wakeup = Wakeup()
    with ThreadPoolExecutor() as pool:
        waiting = pool.submit(wakeup.wait, math.inf)
        assert not waiting.done()
        wakeup.set()
        assert waiting.result(timeout=10)


def test_setting_a_wakeup_never_blocks():
    wakeup = Wakeup()
    for _ in range(10_000):
        wakeup.set()
    assert wakeup.wait(0)


class MacSocket(socket.socket):
    """Datagram socket of macOS: its buffers are small and cannot grow; `poll` does not report room of the reader."""

    full = 0
    """Number of attempts to send while the reader's buffer was full."""

    def setsockopt(self, level, option, *value):
        if option in (socket.SO_SNDBUF, socket.SO_RCVBUF):
            raise OSError(errno.ENOBUFS, "No buffer space available")
        super().setsockopt(level, option, *value)

    def sendmsg(self, parts, rights=(), flags=0):
        if sum(map(len, parts)) > 2048:
            raise OSError(errno.EMSGSIZE, "Message too long")
        try:
            return super().sendmsg(parts, rights, flags)
        except BlockingIOError as error:
            self.full += 1
            raise OSError(errno.ENOBUFS, "No buffer space available") from error


@pytest.fixture
def mac_channel(monkeypatch):
    def pair(family, kind):
        if kind == socket.SOCK_SEQPACKET:
            raise OSError(errno.EPROTONOSUPPORT, "Protocol not supported")
        return [MacSocket(family, kind, 0, end.detach()) for end in real(family, kind)]

    real = socket.socketpair
    monkeypatch.setattr(channels.socket, "socketpair", pair)
    monkeypatch.delattr(os, "memfd_create", raising=False)
    channel = Channel(padding=4096)
    yield channel
    channel.close()


@pytest.mark.parametrize("size", [0, 1, 500, 2047, 2048, 4096, MAX_INLINE_BYTES, MAX_INLINE_BYTES + 1, 1_000_000])
def test_message_of_any_size_passes_the_small_sockets_of_macos(mac_channel, size):
    message = os.urandom(size)
    for _ in range(20):
        assert mac_channel.send(message)
        assert mac_channel.receive(block=False) == message


def test_several_messages_wait_in_the_small_sockets_of_macos(mac_channel):
    sent = 0
    while mac_channel.send(bytes(MAX_INLINE_BYTES)):
        sent += 1
    assert sent > 1
    assert [mac_channel.receive(block=False) for _ in range(sent)] == [bytes(MAX_INLINE_BYTES)] * sent


def test_writer_waits_for_room_on_macos_without_spinning(mac_channel):
    while mac_channel.send(b"x" * 400):
        pass
    mac_channel._writer.full = 0
    assert not mac_channel.send(b"late", wait=0.2)
    assert 2 < mac_channel._writer.full < 80
    with ThreadPoolExecutor() as pool:
        sending = pool.submit(mac_channel.send, b"late", wait=30)
        received = []
        while b"late" not in received:
            received.append(mac_channel.receive())
        assert sending.result()


@pytest.mark.parametrize("room", [4608, 9216, 33_000])
def test_message_of_any_size_passes_a_socket_with_small_buffers(monkeypatch, room):
    """The kernel refuses messages that do not fit into its buffers."""

    def pair(family, kind):
        ends = real(family, socket.SOCK_DGRAM)
        for end in ends:
            end.setsockopt(socket.SOL_SOCKET, socket.SO_SNDBUF, room // 2)
        return ends

    real = socket.socketpair
    monkeypatch.setattr(channels.socket, "socketpair", pair)
    monkeypatch.setattr(channels, "BUFFER_BYTES", room // 2)
    channel = Channel(padding=4096)
    for size in (0, 100, 1000, 4000, 9000, MAX_INLINE_BYTES, MAX_INLINE_BYTES + 1, 100_000):
        message = os.urandom(size)
        assert channel.send(message), size
        assert channel.receive(block=False) == message
    channel.close()


def test_message_too_long_for_the_socket_is_sent_as_a_file(mac_channel):
    mac_channel._inline = MAX_INLINE_BYTES
    message = os.urandom(MAX_INLINE_BYTES)
    assert mac_channel.send(message)
    assert mac_channel.receive(block=False) == message


def test_unlinked_file_works_without_memfd(monkeypatch):
    def refuse(name: str, flags: int) -> int:
        raise PermissionError(errno.EPERM, "Operation not permitted")

    monkeypatch.setattr(os, "memfd_create", refuse, raising=False)
    file = unlinked_file()
    os.pwrite(file, b"kept", 0)
    assert os.pread(file, 9, 0) == b"kept"
    os.close(file)
