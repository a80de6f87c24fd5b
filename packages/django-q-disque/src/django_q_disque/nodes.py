"""Clients of the nodes of a Disque cluster. A process uses one node, and another one if that is unavailable."""

from __future__ import annotations

import random
from collections.abc import Iterator, Sequence
from contextlib import suppress
from typing import TYPE_CHECKING, Any, TypeAlias

import redis
from django_q.brokers.process_local import ProcessLocal
from django_q.exceptions import BrokerUnavailable, ConfigurationError
from redis.backoff import NoBackoff
from redis.exceptions import BusyLoadingError, ResponseError
from redis.retry import Retry

from django_q_disque.errors import CONNECTION_ERRORS, NODE_CODES, NotAccepted, code_of

if TYPE_CHECKING:
    from django_q.settings import ClusterSettings

Command: TypeAlias = Sequence[Any]
"""Words of a command."""

PORT = 7711
"""Default port of a Disque server."""

SOCKET_TIMEOUT_SECONDS = 5.0
"""Time without a response after which a server is unavailable."""

MAX_WAIT_SECONDS = SOCKET_TIMEOUT_SECONDS / 2
"""Maximum time for which a command blocks, so that the client does not take the server for unavailable."""


class Node:
    """Client of one Disque server.

    Args:
        address: `host:port`.
        password: its password; None if it has none.
    """

    def __init__(self, address: str, password: str | None) -> None:
        self.address = address
        host, port = split(address)
        # Disque has the old protocol only, and its HELLO is another command than that of Redis.
        self._client = redis.Redis(
            host=host,
            port=port,
            password=password,
            protocol=2,
            retry=Retry(NoBackoff(), 0),
            socket_keepalive=True,
            socket_timeout=SOCKET_TIMEOUT_SECONDS,
        )
        self._pool = self._client.connection_pool

    def disconnect(self) -> None:
        """Close the connections."""
        self._pool.disconnect()

    def run(self, commands: Sequence[Command], *, repeatable: bool) -> list[Any]:
        """Send several commands in one round trip, and return the answers, of which some may be errors.

        Args:
            commands: the commands.
            repeatable: True if another node may get the commands after this one got them and did not answer.

        Raises:
            NotAccepted: another node may get the commands.
            redis.RedisError: the node did not answer.
        """
        try:
            connection = self._pool.get_connection()
        except CONNECTION_ERRORS as error:
            raise NotAccepted(error) from error
        try:
            connection.send_packed_command(connection.pack_commands(commands))
            return [answer_of(connection) for _command in commands]
        except CONNECTION_ERRORS as error:
            connection.disconnect()
            if repeatable:
                raise NotAccepted(error) from error
            raise
        finally:
            self._pool.release(connection)


class Nodes:
    """Nodes of a Disque cluster. One is chosen at random and used until it is unavailable.

    Args:
        addresses: `host:port` of each node.
        password: password of all nodes; None if they have none.
    """

    def __init__(self, addresses: Sequence[str], password: str | None = None) -> None:
        self._nodes = [Node(address, password) for address in random.sample(list(addresses), len(addresses))]

    @property
    def current(self) -> str:
        """Address of the node in use."""
        return self._nodes[0].address

    def run(self, *command: Any, repeatable: bool = True) -> Any:
        """Send a command to the node in use, or to the next one that accepts it, and return the answer.

        Args:
            *command: its words.
            repeatable: False to send it to another node only if it did not reach the one in use.

        Raises:
            ResponseError: the node rejects the command.
            BrokerUnavailable: no node can be reached.
        """
        [answer] = self.run_all([command], repeatable=repeatable)
        if isinstance(answer, ResponseError):
            raise answer
        return answer

    def run_all(self, commands: Sequence[Command], *, repeatable: bool = True) -> list[Any]:
        """Send several commands to one node like `run`, and return the answers, of which some may be errors."""
        errors = []
        for node in tuple(self._nodes):
            try:
                answers = node.run(commands, repeatable=repeatable)
            except NotAccepted as error:
                errors.append(f"{node.address}: {error}")
                continue
            self._prefer(node)
            return answers
        raise BrokerUnavailable(f"No Disque node can be reached: {'; '.join(errors)}")

    def run_on_all(self, *command: Any) -> list[Any]:
        """Send a command to all reachable nodes, and return the answers, at least one; some may be errors."""
        return self.run_all_on_all([command])

    def run_all_on_all(self, commands: Sequence[Command]) -> list[Any]:
        """Send several commands to all reachable nodes in one round trip each, and return all answers."""
        return [answer for node in self.reachable() for answer in node.run(commands, repeatable=False)]

    def pages(self, *command: Any) -> Iterator[Any]:
        """Yield all elements of a scan on all reachable nodes.

        Args:
            *command: words of the command, without the cursor.
        """
        name, *words = command
        for node in self.reachable():
            cursor = b"0"
            while True:
                [answer] = node.run([[name, cursor, *words]], repeatable=False)
                if isinstance(answer, ResponseError):
                    raise answer
                cursor, page = answer
                yield from page
                if cursor == b"0":
                    break

    def reachable(self) -> list[Node]:
        """Return the nodes that answer, the one in use first.

        Raises:
            BrokerUnavailable: no node answers.
        """
        found = []
        for node in self._nodes:
            with suppress(NotAccepted):
                node.run([["HELLO"]], repeatable=True)
                found.append(node)
        if not found:
            raise BrokerUnavailable(f"No Disque node can be reached: {', '.join(node.address for node in self._nodes)}")
        return found

    def disconnect(self) -> None:
        """Close the connections to all nodes."""
        for node in self._nodes:
            node.disconnect()

    def __len__(self) -> int:
        return len(self._nodes)

    def _prefer(self, node: Node) -> None:
        """Make a node the one in use."""
        if node is not self._nodes[0]:
            self._nodes = [node, *(other for other in self._nodes if other is not node)]


def answer_of(connection: Any) -> Any:
    """Return the next answer on a connection, which may be an error.

    Raises:
        NotAccepted: the node cannot execute the command now, and another one may.
    """
    try:
        return connection.read_response()
    except (ResponseError, BusyLoadingError) as error:
        if code_of(error) in NODE_CODES:
            connection.disconnect()
            raise NotAccepted(f"{code_of(error)} {error}") from error
        return error


def split(address: str) -> tuple[str, int]:
    """Return host and port of an address.

    Raises:
        ConfigurationError: it has another form than `host:port`.
    """
    host, colon, port = address.strip().rpartition(":")
    if not colon:
        return port, PORT
    if not port.isdecimal():
        raise ConfigurationError(f"Q_CLUSTER['disque_nodes'] has {address!r}: write 'host:port'.")
    return host.strip("[]"), int(port)


_nodes: ProcessLocal[dict[tuple[tuple[str, ...], str | None], Nodes]] = ProcessLocal(dict)


def nodes_for(settings: ClusterSettings) -> Nodes:
    """Return this process's nodes for *settings*, which all brokers and threads share.

    Raises:
        ConfigurationError: the settings have no nodes.
    """
    known = _nodes.get()
    key = (tuple(settings.disque_nodes or ()), settings.disque_auth)
    if not key[0]:
        raise ConfigurationError("Q_CLUSTER['disque_nodes'] is empty: write at least one 'host:port'.")
    if key not in known:
        known[key] = Nodes(*key)
    return known[key]
