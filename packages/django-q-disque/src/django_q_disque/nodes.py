"""Several Disque servers as one: a node that answers, and another when it goes away."""

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

from django_q_disque.errors import CONNECTION_ERRORS, NODE_CODES, NotTaken, code_of

if TYPE_CHECKING:
    from django_q.settings import ClusterSettings

Command: TypeAlias = Sequence[Any]
"""A command, each word by itself: Disque's client does not split a text."""

PORT = 7711
"""Where a Disque server listens unless its address says otherwise."""

SOCKET_TIMEOUT_SECONDS = 5.0
"""Seconds after which a silent server counts as gone."""

MAX_WAIT_SECONDS = SOCKET_TIMEOUT_SECONDS / 2
"""Seconds that a command may block before the client takes the server for gone."""


class Node:
    """One Disque server.

    Args:
        address: `host:port`.
        password: when it wants one.
    """

    def __init__(self, address: str, password: str | None) -> None:
        self.address = address
        host, port = split(address)
        # Disque speaks the old protocol only, and its HELLO is another command than Redis's.
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
        """The answers to several commands, sent in one go; a refusal is an answer too.

        Args:
            commands: what to do.
            repeatable: may another node be asked when this one falls silent before it has answered?
        """
        try:
            connection = self._pool.get_connection()
        except CONNECTION_ERRORS as error:
            raise NotTaken(error) from error
        try:
            connection.send_packed_command(connection.pack_commands(commands))
            return [answer_of(connection) for _command in commands]
        except CONNECTION_ERRORS as error:
            connection.disconnect()
            if repeatable:
                raise NotTaken(error) from error
            raise
        finally:
            self._pool.release(connection)


class Nodes:
    """The nodes of a cluster; one is chosen at random and used until it goes away.

    Args:
        addresses: `host:port` of each.
        password: of all of them.
    """

    def __init__(self, addresses: Sequence[str], password: str | None = None) -> None:
        self._nodes = [Node(address, password) for address in random.sample(list(addresses), len(addresses))]

    @property
    def current(self) -> str:
        """The address of the node in use."""
        return self._nodes[0].address

    def run(self, *command: Any, repeatable: bool = True) -> Any:
        """Give a command to the node in use, or to the next one that takes it.

        One that may not be repeated is given to another node only when it did not reach this one.
        """
        [answer] = self.run_all([command], repeatable=repeatable)
        if isinstance(answer, ResponseError):
            raise answer
        return answer

    def run_all(self, commands: Sequence[Command], *, repeatable: bool = True) -> list[Any]:
        """Give several commands to one node, and give all answers, refusals among them."""
        errors = []
        for node in tuple(self._nodes):
            try:
                answers = node.run(commands, repeatable=repeatable)
            except NotTaken as error:
                errors.append(f"{node.address}: {error}")
                continue
            self._prefer(node)
            return answers
        raise BrokerUnavailable(f"No Disque node can be reached: {'; '.join(errors)}")

    def everywhere(self, *command: Any) -> list[Any]:
        """Return the answers of all nodes that can be reached, at least one; a refusal is an answer too."""
        return [answer for node in self.reachable() for answer in node.run([command], repeatable=False)]

    def pages(self, *command: Any) -> Iterator[Any]:
        """All pages of a scan, on all nodes that can be reached; the command comes without its cursor."""
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
        """The nodes that answer, the one in use first."""
        found = []
        for node in self._nodes:
            with suppress(NotTaken):
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
        """Ask this node first from now on."""
        if node is not self._nodes[0]:
            self._nodes = [node, *(other for other in self._nodes if other is not node)]


def answer_of(connection: Any) -> Any:
    """Return the next answer on a connection.

    Raises:
        NotTaken: the node cannot do it at the moment, and another one may.
    """
    try:
        return connection.read_response()
    except (ResponseError, BusyLoadingError) as error:
        if code_of(error) in NODE_CODES:
            connection.disconnect()
            raise NotTaken(f"{code_of(error)} {error}") from error
        return error


def split(address: str) -> tuple[str, int]:
    """Host and port of a node."""
    host, colon, port = address.strip().rpartition(":")
    if not colon:
        return port, PORT
    if not port.isdecimal():
        raise ConfigurationError(f"Q_CLUSTER['disque_nodes'] has {address!r}: write 'host:port'.")
    return host.strip("[]"), int(port)


_nodes: ProcessLocal[dict[tuple[tuple[str, ...], str | None], Nodes]] = ProcessLocal(dict)


def nodes_for(settings: ClusterSettings) -> Nodes:
    """This process's nodes for *settings*: one set of connections, however many brokers and threads use it."""
    known = _nodes.get()
    key = (tuple(settings.disque_nodes or ()), settings.disque_auth)
    if not key[0]:
        raise ConfigurationError("Q_CLUSTER['disque_nodes'] is empty: write at least one 'host:port'.")
    if key not in known:
        known[key] = Nodes(*key)
    return known[key]
