from __future__ import annotations

import itertools
from contextlib import contextmanager
from typing import TYPE_CHECKING
from unittest import mock

import pytest
import redis
from django_q.exceptions import BrokerError, BrokerUnavailable
from django_q.settings import ClusterSettings
from django_q.testing import BrokerConformance
from django_q_disque import Disque, nodes
from redis.exceptions import AuthenticationError, BusyLoadingError, OutOfMemoryError, ResponseError

from tests.services import Disque as Server

if TYPE_CHECKING:
    from collections.abc import Sequence


class TestDisque(BrokerConformance):
    large_lease_batch = 210  # the stand-in for Disque takes seconds for a thousand
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


class Pair:
    """Two nodes of one cluster."""

    def __init__(self, servers: Sequence[Server]) -> None:
        self.servers = servers

    def start(self) -> None:
        for server in self.servers:
            server.start()
        for server, other in (self.servers, self.servers[::-1]):
            with redis.Redis(port=server.port, protocol=2) as client:
                client.execute_command("CLUSTER", "MEET", other.host, other.port)

    def stop(self) -> None:
        for server in self.servers:
            server.stop()


@pytest.fixture(scope="module")
def pair():
    with Server() as first, Server() as second:
        yield Pair([first, second])


FENCING = "several nodes do not count alike: each consumer that had a job can settle it"


class Unordered(Disque):
    """A broker without priorities: a node delivers its own jobs, of all bands, before those of other nodes."""

    priorities = 1


@pytest.mark.variant
class TestDisqueOnTwoNodes(BrokerConformance):
    """Suite on nodes that fetch jobs from each other. One client of a test uses the first node, another the second."""

    in_order = False
    large_batch = 210
    lease_of_sender = True
    not_promised = {
        "test_lost_lease_cannot_acknowledge": FENCING,
        "test_lost_lease_cannot_be_renewed": FENCING,
        "test_lost_lease_cannot_dead_letter": FENCING,
        "test_lost_lease_cannot_release": FENCING,
        "test_lost_lease_cannot_release_for_later": FENCING,
        "test_lost_lease_is_known": FENCING,
        "test_lost_leases_are_distinguished_from_kept_ones": FENCING,
    }

    @pytest.fixture
    def make_broker(self, pair: Pair, monkeypatch: pytest.MonkeyPatch):
        pair.start()
        monkeypatch.setattr(nodes.random, "sample", lambda population, _count: population)
        addresses = [server.address for server in pair.servers]
        orders = itertools.cycle([addresses, addresses[::-1]])

        def make_broker(list_key: str) -> Disque:
            return Unordered(list_key, settings=ClusterSettings.from_mapping({"disque_nodes": next(orders)}))

        yield make_broker
        nodes._nodes.forget()

    @pytest.fixture
    def server(self, pair: Pair):
        return pair
