from __future__ import annotations

from datetime import UTC, datetime, timedelta
from typing import TYPE_CHECKING
from unittest import mock

import pytest
from django_q.exceptions import BrokerError, BrokerUnavailable, PackageTooLarge
from django_q.settings import ClusterSettings
from django_q.testing import BrokerConformance
from django_q_mongo import Mongo, broker
from pymongo import MongoClient
from pymongo.errors import (
    AutoReconnect,
    BulkWriteError,
    CursorNotFound,
    DocumentTooLarge,
    ExecutionTimeout,
    InvalidName,
    NetworkTimeout,
    NotPrimaryError,
    OperationFailure,
    ServerSelectionTimeoutError,
    WaitQueueTimeoutError,
    WriteConcernError,
    WTimeoutError,
)

if TYPE_CHECKING:
    from tests.services import Mongo as Server


class TestMongo(BrokerConformance):
    knows_ended_leases = False
    large_batch = 120  # the stand-in for MongoDB takes half a minute to search a thousand packages
    client_errors = (
        *((kind("no"), BrokerUnavailable) for kind in (AutoReconnect, NetworkTimeout, NotPrimaryError)),
        *((kind("no"), BrokerUnavailable) for kind in (ServerSelectionTimeoutError, WaitQueueTimeoutError)),
        *((kind("no"), BrokerUnavailable) for kind in (CursorNotFound, ExecutionTimeout)),
        *((kind("no"), BrokerUnavailable) for kind in (WriteConcernError, WTimeoutError)),
        (BulkWriteError({"writeErrors": [], "writeConcernErrors": [{"code": 64}]}), BrokerUnavailable),
        *((OperationFailure("no", code), BrokerUnavailable) for code in (13, 18, 91, 189, 10107, 11600, 14031)),
        (DocumentTooLarge("no"), PackageTooLarge),
        (OperationFailure("no", 10334), PackageTooLarge),
        (InvalidName("no"), BrokerError),
        *((OperationFailure("no", code), BrokerError) for code in (2, 73, 121)),
    )

    @pytest.fixture
    def make_broker(self, mongo_server: Server, monkeypatch):
        monkeypatch.setattr(broker, "MAX_FETCHED_PACKAGES", 100)  # so that a batch has several parts
        mongo_server.start()
        settings = ClusterSettings.from_mapping({"mongo": mongo_server.options})
        return lambda list_key: Mongo(list_key, settings=settings)

    @pytest.fixture
    def server(self, mongo_server: Server):
        return mongo_server

    @pytest.fixture
    def too_large(self) -> int:
        return 17 * 1024 * 1024

    @pytest.fixture
    def client_raises(self):
        def client_raises(broker: Mongo, error: Exception):
            raises = mock.Mock(side_effect=error)
            return mock.patch.multiple(MongoClient, _checkout=raises, _conn_from_server=raises)

        return client_raises

    @pytest.fixture
    def hold_as_old(self, make_broker):
        def hold_as_old(list_key: str, retry: float) -> str | None:
            now = datetime.now(UTC)
            free = {"lock": {"$lte": now - timedelta(seconds=retry)}}
            found = make_broker(list_key).collection.find_one_and_update(free, {"$set": {"lock": now}})
            return found["payload"] if found else None

        return hold_as_old
