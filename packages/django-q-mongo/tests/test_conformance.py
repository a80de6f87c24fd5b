from __future__ import annotations

from typing import TYPE_CHECKING

import pytest
from django_q.settings import ClusterSettings
from django_q.testing import BrokerConformance
from django_q_mongo import Mongo, broker

if TYPE_CHECKING:
    from tests.services import Mongo as Server


class TestMongo(BrokerConformance):
    large_batch = 220  # the server that stands in for MongoDB takes half a minute to search among a thousand packages

    @pytest.fixture
    def make_broker(self, mongo_server: Server, monkeypatch):
        monkeypatch.setattr(broker, "MOST", 100)  # so that a batch has several parts
        mongo_server.start()
        settings = ClusterSettings.from_mapping({"mongo": mongo_server.options})
        return lambda list_key: Mongo(list_key, settings=settings)

    @pytest.fixture
    def server(self, mongo_server: Server):
        return mongo_server
