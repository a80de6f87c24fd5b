"""Classification of the replies of nodes."""

from __future__ import annotations

import uuid
from contextlib import contextmanager
from pathlib import Path

import pytest
import redis
from django_q.exceptions import BrokerError, BrokerUnavailable, PackageTooLarge
from django_q.settings import ClusterSettings
from django_q_disque import Disque, nodes
from django_q_disque.errors import UNAVAILABLE, NotAccepted, broker_error
from redis._parsers.base import BaseParser

from tests.services import Disque as Server

TEMPORARY = [
    "OOM command not allowed when used memory > 'maxmemory'.",
    "NOREPL Not enough reachable nodes for the requested replication level",
    "PAUSED Queue paused in input, try later",
    "LEAVING this node is leaving the cluster. Connect to another node please",
    "LOADING Disque is loading the dataset in memory",
    "MISCONF Errors writing to the AOF file: No space left on device",
    "BUSY Disque is busy",
    "NOAUTH Authentication required.",
    "ERR invalid password",
    "ERR max number of clients reached",
]


@pytest.mark.parametrize("reply", TEMPORARY, ids=lambda reply: reply.partition(" ")[0])
def test_node_that_does_not_work_now_is_unavailable(reply: str):
    assert isinstance(broker_error(BaseParser.parse_error(reply)), BrokerUnavailable)


@pytest.mark.parametrize("code", UNAVAILABLE)
def test_message_has_the_remedy(code: str):
    assert str(broker_error(BaseParser.parse_error(f"{code} now"))).endswith(UNAVAILABLE[code])


@pytest.mark.parametrize(
    "raised", [redis.ConnectionError("refused"), redis.TimeoutError("silent"), NotAccepted("none")]
)
def test_node_that_is_not_reached_is_unavailable(raised: Exception):
    assert isinstance(broker_error(raised), BrokerUnavailable)


@pytest.mark.parametrize("reply", ["ERR syntax error", "ERR unknown command 'addjob'", "ERR no OOM, but a word"])
def test_command_that_is_wrong_is_rejected(reply: str):
    assert not isinstance(broker_error(BaseParser.parse_error(reply)), BrokerUnavailable)


def test_too_large_package_is_package_too_large():
    assert isinstance(broker_error(BaseParser.parse_error("ERR Protocol error: invalid bulk length")), PackageTooLarge)


def test_readme_lists_every_code():
    readme = (Path(__file__).parents[1] / "README.md").read_text()
    assert [code for code in UNAVAILABLE if f"`{code}`" not in readme] == []


@pytest.fixture
def servers():
    with Server() as first, Server() as second:
        yield first, second


@pytest.fixture
def broker(servers, monkeypatch: pytest.MonkeyPatch):
    monkeypatch.setattr(nodes.random, "sample", lambda population, _count: population)
    return broker_of(*servers)


def broker_of(*servers: Server, **others: object) -> Disque:
    settings = {"disque_nodes": [server.address for server in servers], "retry": 60, **others}
    return Disque(f"own-{uuid.uuid4().hex[:12]}", settings=ClusterSettings.from_mapping(settings))


@contextmanager
def state(server: Server, *command: str, undo: str):
    """Bring a node into a state until the end of the block."""
    with redis.Redis(port=server.port, protocol=2) as client:
        client.execute_command(*command)
        yield
        client.execute_command(*command[:-1], undo)


STATES = {"OOM": ("CONFIG", "SET", "maxmemory", "1"), "LEAVING": ("CLUSTER", "LEAVING", "yes")}
UNDO = {"OOM": "0", "LEAVING": "no"}


@pytest.mark.parametrize("code", STATES)
def test_another_node_accepts_commands_of_one_that_cannot(broker: Disque, servers, code: str):
    first, second = servers
    assert broker.ping()
    assert broker.connection.current == first.address
    with state(first, *STATES[code], undo=UNDO[code]):
        broker.enqueue("package")
        assert broker.connection.current == second.address
        assert [each.package for each in broker.dequeue_many(1, 1)] == [b"package"]


@pytest.mark.parametrize("code", STATES)
def test_single_node_that_accepts_nothing_is_unavailable(servers, code: str):
    broker = broker_of(servers[0])
    with state(servers[0], *STATES[code], undo=UNDO[code]), pytest.raises(BrokerUnavailable, match=code):
        broker.enqueue("package")
    assert broker.enqueue("package")


def test_paused_queue_is_unavailable(servers):
    broker = broker_of(servers[0])
    with (
        state(servers[0], "PAUSE", broker.list_key, "in", undo="none"),
        pytest.raises(BrokerUnavailable, match="PAUSED"),
    ):
        broker.enqueue("package")
    assert broker.enqueue("package")


def test_wrong_password_is_unavailable_until_it_is_corrected():
    with Server(password="old") as server:
        broker = broker_of(server, disque_auth="old")
        broker.enqueue("package")
        server.password = "new"
        server.restart()
        with pytest.raises(BrokerUnavailable, match="invalid password"):
            broker.enqueue("package")
        with pytest.raises(BrokerUnavailable, match="invalid password"):
            broker.dequeue_many(1, 1)
        server.password = "old"
        server.restart()
        assert [each.package for each in broker.dequeue_many(1, 1)] == [b"package"]


def test_lease_too_old_for_renewal_is_not_lost(servers, monkeypatch: pytest.MonkeyPatch):
    broker = broker_of(servers[0])
    broker.enqueue("package")
    [held] = broker.dequeue_many(1, 1)
    run_all = broker.connection.run_all

    def too_late(commands, **options):
        if commands[0][0] != "WORKING":
            return run_all(commands, **options)
        return [BaseParser.parse_error("TOOLATE Half of job TTL already elapsed") for _ in commands]

    monkeypatch.setattr(broker.connection, "run_all", too_late)
    assert broker.renew([held.ack_id]) == []


def test_rejected_command_is_no_outage(servers):
    with pytest.raises(BrokerError, match="rejects") as caught:
        broker_of(servers[0])._add("package", "NONSENSE", 1)
    assert not isinstance(caught.value, BrokerUnavailable)
