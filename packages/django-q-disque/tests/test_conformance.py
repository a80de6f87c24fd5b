from __future__ import annotations

from contextlib import contextmanager
from typing import TYPE_CHECKING
from unittest import mock

import pytest
import redis
from django_q.exceptions import BrokerError, BrokerUnavailable
from django_q.settings import ClusterSettings
from django_q.testing import BrokerConformance
from django_q_disque import Disque
from redis.exceptions import AuthenticationError, BusyLoadingError, OutOfMemoryError, ResponseError

if TYPE_CHECKING:
    from tests.services import Disque as Server


class TestDisque(BrokerConformance):
    lease_of_sender = True
    client_errors = (
        (redis.ConnectionError("refused"), BrokerUnavailable),
        (redis.TimeoutError("silent"), BrokerUnavailable),
        (AuthenticationError("Authentication required."), BrokerUnavailable),
        (BusyLoadingError("Disque is loading the dataset in memory"), BrokerUnavailable),
        (OutOfMemoryError("command not allowed when used memory > 'maxmemory'."), BrokerUnavailable),
        (ResponseError("BUSY Disque is busy"), BrokerUnavailable),
        (ResponseError("LEAVING this node is leaving the cluster"), BrokerUnavailable),
        (ResponseError("MISCONF Errors writing to the AOF file"), BrokerUnavailable),
        (ResponseError("NOREPL Not enough reachable nodes"), BrokerUnavailable),
        (ResponseError("max number of clients reached"), BrokerUnavailable),
        (ResponseError("syntax error"), BrokerError),
        (ResponseError("unknown command"), BrokerError),
    )

    @pytest.fixture
    def make_broker(self, disque_server: Server):
        disque_server.start()
        settings = ClusterSettings.from_mapping({"disque_nodes": [disque_server.address]})
        return lambda list_key: Disque(list_key, settings=settings)

    @pytest.fixture
    def server(self, disque_server: Server):
        return disque_server

    @pytest.fixture
    def client_raises(self):
        @contextmanager
        def client_raises(broker: Disque, error: Exception):
            connection = redis.connection.Connection
            with (
                mock.patch.object(connection, "send_packed_command"),
                mock.patch.object(connection, "read_response", side_effect=error),
            ):
                yield

        return client_raises

    @pytest.fixture
    def hold_as_old(self, disque_server: Server):
        def hold_as_old(list_key: str, retry: float) -> str | None:
            with redis.Redis(port=disque_server.port, protocol=2) as client:
                jobs = client.execute_command("GETJOB", "NOHANG", "FROM", list_key)
            return jobs[0][2].decode() if jobs else None

        return hold_as_old
