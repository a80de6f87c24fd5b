from __future__ import annotations

from typing import TYPE_CHECKING

import pytest
from django_q.settings import ClusterSettings
from django_q.testing import BrokerConformance
from django_q_disque import Disque

if TYPE_CHECKING:
    from tests.services import Disque as Server


class TestDisque(BrokerConformance):
    @pytest.fixture
    def make_broker(self, disque_server: Server):
        disque_server.start()
        settings = ClusterSettings.from_mapping({"disque_nodes": [disque_server.address]})
        return lambda list_key: Disque(list_key, settings=settings)

    @pytest.fixture
    def server(self, disque_server: Server):
        return disque_server
