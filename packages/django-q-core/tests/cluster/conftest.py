"""Fixtures of several modules about the processes of a cluster."""

from __future__ import annotations

import os
import threading

import pytest
from django_q.cluster.ipc import marks, state
from django_q.cluster.ipc.channels import unlinked_file
from django_q.cluster.watchdog import Watchdog
from django_q.exceptions import BrokerUnavailable


@pytest.fixture(autouse=True)
def _end_of_processes(monkeypatch):
    """Do what the end of a process does: end the threads of a monitor, and close the files of its state."""
    files: list[int] = []

    def recorded_file() -> int:
        files.append(unlinked_file())
        return files[-1]

    monkeypatch.setattr(state, "unlinked_file", recorded_file)
    monkeypatch.setattr(marks, "unlinked_file", recorded_file)
    yield
    for thread in threading.enumerate():
        if isinstance(thread, Watchdog):
            thread.stop()
    for file in files:
        os.close(file)


class Renewer:
    """Broker that records renewals."""

    alias = None
    leases_vary = False
    lease_seconds = None

    def __init__(self):
        self.renewed, self.lost, self.unavailable = [], [], False

    def renew(self, ack_ids):
        if self.unavailable:
            raise BrokerUnavailable
        self.renewed += ack_ids
        return [ack_id for ack_id in ack_ids if ack_id in self.lost]


@pytest.fixture
def renewer():
    """Broker that records renewals."""
    return Renewer()
