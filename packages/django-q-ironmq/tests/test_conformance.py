from __future__ import annotations

from typing import TYPE_CHECKING

import pytest
from django_q.settings import ClusterSettings
from django_q.testing import BrokerConformance
from django_q_ironmq import IronMQBroker

if TYPE_CHECKING:
    from tests.services import IronMQ as Server


class TestIronMQBroker(BrokerConformance):
    @pytest.fixture
    def make_broker(self, ironmq_server: Server, monkeypatch: pytest.MonkeyPatch):
        # The service's 30 seconds are too long for tests that wait for the end of a lease.
        monkeypatch.setattr(IronMQBroker, "shortest_lease", 1)
        ironmq_server.start()
        settings = ClusterSettings.from_mapping({"iron_mq": ironmq_server.options})
        return lambda list_key: IronMQBroker(list_key, settings=settings)

    @pytest.fixture
    def server(self, ironmq_server: Server):
        return ironmq_server
