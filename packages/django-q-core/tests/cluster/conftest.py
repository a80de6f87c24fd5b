"""Fixtures of several modules about the processes of a cluster."""

from __future__ import annotations

import pytest
from django_q.exceptions import BrokerUnavailable


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
