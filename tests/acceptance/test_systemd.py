"""Notifications for systemd, received by a real datagram socket."""

from __future__ import annotations

import os
import signal
import socket
from contextlib import closing, contextmanager

import psutil
import pytest

from .site import RunningCluster, eventually


@contextmanager
def notified(address: str):
    """A socket that receives notifications."""
    with closing(socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM)) as receiver:
        receiver.bind(f"\0{address[1:]}" if address.startswith("@") else address)
        receiver.settimeout(40)
        yield receiver


def until(receiver: socket.socket, wanted: bytes) -> list[bytes]:
    """Receive notifications until a certain one."""
    found = [receiver.recv(4096)]
    while found[-1] != wanted:
        found.append(receiver.recv(4096))
    return found


@pytest.mark.parametrize("kind", ["path", "abstract"])
def test_service_manager_is_notified(make_site, tmp_path, kind):
    address = str(tmp_path / "notify") if kind == "path" else f"@django-q-{os.getpid()}"
    with notified(address) as receiver, make_site("sqlite").cluster(NOTIFY_SOCKET=address) as cluster:
        assert until(receiver, b"READY=1") == [b"READY=1"]
        cluster.signal(signal.SIGTERM)
        assert until(receiver, b"STOPPING=1") == [b"STOPPING=1"]
        assert cluster.process.wait(40) == 0


def test_watchdog_hears_of_the_cluster_while_it_lives(make_site, tmp_path):
    address = str(tmp_path / "notify")
    site = make_site("sqlite", guard_timeout=3)
    with notified(address) as receiver, site.cluster(NOTIFY_SOCKET=address, WATCHDOG_USEC="4000000") as cluster:
        until(receiver, b"READY=1")
        receiver.settimeout(4)
        for _ in range(3):
            assert receiver.recv(4096) == b"WATCHDOG=1"
        psutil.Process(cluster.process.pid).suspend()
        with pytest.raises(TimeoutError):
            until(receiver, b"nothing")
        psutil.Process(cluster.process.pid).resume()
        assert receiver.recv(4096) == b"WATCHDOG=1"


def test_watchdog_of_another_process_is_ignored(make_site, tmp_path):
    address = str(tmp_path / "notify")
    variables = {"NOTIFY_SOCKET": address, "WATCHDOG_USEC": "200000", "WATCHDOG_PID": "1"}
    with notified(address) as receiver, make_site("sqlite").cluster(**variables) as cluster:
        assert until(receiver, b"READY=1") == [b"READY=1"]
        cluster.signal(signal.SIGTERM)
        assert receiver.recv(4096) == b"STOPPING=1"


def test_tasks_do_not_inherit_the_socket(make_site, tmp_path):
    address = str(tmp_path / "notify")
    site = make_site("sqlite")
    code = "from django_q.tasks import *; answer = result(async_task('os.getenv', 'NOTIFY_SOCKET', 'none'), 20000)"
    with notified(address), site.cluster(NOTIFY_SOCKET=address):
        assert site.run(code) == "none"


@pytest.mark.parametrize("address", ["/nowhere/notify", "@nothing", "", "@"])
def test_socket_without_receiver_changes_nothing(make_site, address):
    cluster = RunningCluster(make_site("sqlite"), ("--run-once",), {"NOTIFY_SOCKET": address, "WATCHDOG_USEC": "x"})
    assert eventually(lambda: cluster.process.poll() is not None, within=20)
    assert cluster.process.returncode == 0, cluster.log
