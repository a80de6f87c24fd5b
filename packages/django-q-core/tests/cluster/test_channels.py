"""A channel keeps its messages whole, in order, and apart, whoever is killed."""

from __future__ import annotations

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
from django_q.cluster.channels import INLINE, Bell, Channel


@pytest.fixture
def channel():
    channel = Channel()
    yield channel
    channel.close()


@pytest.mark.parametrize("size", [0, 1, INLINE - 1, INLINE, INLINE + 1, 5_000_000])
def test_message_of_any_size_arrives_unchanged(channel, size):
    message = os.urandom(size)
    assert channel.send(message)
    assert channel.receive(block=False) == message


def test_messages_arrive_in_the_order_sent(channel):
    messages = [bytes([number]) * (number * 1000) for number in range(40)]
    for message in messages:
        assert channel.send(message)
    assert [channel.receive(block=False) for _ in messages] == messages


def test_empty_channel_gives_none_at_once_when_not_blocking(channel):
    began = time.monotonic()
    assert channel.receive(block=False) is None
    assert time.monotonic() - began < 0.5


def test_full_channel_says_so_instead_of_blocking(channel):
    sent = 0
    while channel.send(b"x" * 1000):
        sent += 1
    assert sent > 50
    assert channel.receive(block=False) == b"x" * 1000
    assert not channel.send(b"x" * INLINE, wait=0.01) or sent


@pytest.mark.skipif(sys.platform != "linux", reason="other systems count the room of a socket in their own way")
def test_channel_has_room_for_more_than_a_socket_has_by_itself(channel):
    reader, writer = socket.socketpair(socket.AF_UNIX, socket.SOCK_SEQPACKET)
    with reader, writer:
        granted = writer.getsockopt(socket.SOL_SOCKET, socket.SO_SNDBUF)
    sent = 0
    while channel.send(b"x" * 500):
        sent += 1
    assert sent * 1000 > granted


@pytest.mark.skipif(sys.platform != "linux", reason="other systems count the room of a socket in their own way")
def test_large_messages_never_wait_in_hundreds_where_they_have_weight():
    """Or a database that is slow would fill the memory."""
    channel, sent = Channel(weight=4096), 0
    while channel.send(bytes(INLINE + 1)):
        sent += 1
    channel.close()
    assert 20 < sent < 100


def test_killed_reader_harms_nobody(channel):
    """The oldest defect of the public editions: a reader that died kept the queue's lock."""
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


def test_bell_wakes_and_two_rings_are_one():
    bell = Bell()
    assert not bell.wait(0)
    bell.ring()
    bell.ring()
    assert bell.wait(0)
    assert not bell.wait(0)


def test_bell_wakes_who_waits_for_ever():
    bell = Bell()
    with ThreadPoolExecutor() as pool:
        waiting = pool.submit(bell.wait, math.inf)
        assert not waiting.done()
        bell.ring()
        assert waiting.result(timeout=10)


def test_ringing_for_ever_never_blocks():
    bell = Bell()
    for _ in range(10_000):
        bell.ring()
    assert bell.wait(0)
