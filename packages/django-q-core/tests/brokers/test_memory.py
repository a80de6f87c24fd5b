from __future__ import annotations

import pytest
from django_q.brokers.memory import MemoryBroker
from django_q.testing import BrokerConformance, MemoryServer


class TestMemoryBroker(BrokerConformance):
    retry = 0.3
    shared = False
    steps = 1_000

    @pytest.fixture
    def make_broker(self):
        return MemoryBroker


class TestServedMemoryBroker(BrokerConformance):
    retry = 0.3

    @pytest.fixture
    def make_broker(self):
        with MemoryServer():
            yield MemoryBroker
