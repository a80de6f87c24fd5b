"""HTTP server in one thread, with limits on the size, number and duration of requests."""

from __future__ import annotations

import selectors
import socket
import time
from contextlib import suppress
from http import HTTPStatus
from typing import TYPE_CHECKING, Final, NamedTuple

if TYPE_CHECKING:
    from collections.abc import Callable

    from django_q.cluster.probes.listener import Listener

MAX_REQUEST_BYTES: Final = 8192
"""Maximum size of a request's first line and headers."""

MAX_CONNECTIONS: Final = 64
"""Maximum number of open connections. One more closes the one that has been incomplete for longest."""

REQUEST_SECONDS: Final = 5.0
"""Maximum time to receive a request, and to send its response."""

LINGER_SECONDS: Final = 1.0
"""Maximum time to wait for the client's end of the connection. To close it earlier could discard the response."""

DEFERRED_CYCLE_SECONDS: Final = 0.02
"""Interval at which responses are requested again that are not ready."""

REFUSED_ACCEPT_SECONDS: Final = 0.1
"""Pause after the system refused to accept a connection."""

READ_BYTES: Final = 16_384

PLAIN_TEXT: Final = "text/plain; charset=utf-8"

METHODS: Final = ("GET", "HEAD")


class Response(NamedTuple):
    """Response to a request."""

    status: HTTPStatus
    body: bytes
    content_type: str = PLAIN_TEXT

    @classmethod
    def of(cls, status: HTTPStatus, *lines: str) -> Response:
        """Return a response with lines of text."""
        return cls(status, "".join(f"{line}\n" for line in lines or (status.phrase,)).encode())

    def encode(self, *, with_body: bool = True) -> bytes:
        """Return the bytes to send.

        Args:
            with_body: False for the response to HEAD.
        """
        allow = f"Allow: {', '.join(METHODS)}\r\n" if self.status == HTTPStatus.METHOD_NOT_ALLOWED else ""
        head = (
            f"HTTP/1.1 {self.status.value} {self.status.phrase}\r\nContent-Type: {self.content_type}\r\n"
            f"Content-Length: {len(self.body)}\r\nCache-Control: no-store\r\n{allow}Connection: close\r\n\r\n"
        )
        return head.encode("latin-1") + (self.body if with_body else b"")


OK: Final = Response.of(HTTPStatus.OK, "ok")
"""Response of a probe that has succeeded."""


class Request(NamedTuple):
    """Request that was received completely."""

    path: str
    received: float
    """Time of its receipt (`time.monotonic`, seconds)."""
    with_body: bool = True
    """False for HEAD."""


class Rejected(Exception):
    """The request is invalid.

    Args:
        status: status of the response.
    """

    def __init__(self, status: HTTPStatus) -> None:
        super().__init__()
        self.status = status


class Connection:
    """Connection of one client, for one request."""

    def __init__(self, client: socket.socket) -> None:
        self.client = client
        self.received = bytearray()
        self.request: Request | None = None
        self.unsent = memoryview(b"")
        self.is_answered = False
        self.deadline = time.monotonic() + REQUEST_SECONDS
        """Time at which the connection is closed (`time.monotonic`, seconds)."""

    @property
    def is_deferred(self) -> bool:
        """True if the request was received and its response is not ready."""
        return self.request is not None and not self.is_answered

    def read(self) -> bool:
        """Read what has arrived; parse the request when it is complete.

        Returns:
            False if the client has ended the connection before that, or after the response.

        Raises:
            OSError: the connection is broken.
            Rejected: the request is invalid.
        """
        try:
            data = self.client.recv(READ_BYTES)
        except BlockingIOError:
            return True
        if self.request is not None or self.is_answered:
            return bool(data) or not self.is_answered
        self.received += data
        head, end, _ = bytes(self.received).replace(b"\r\n", b"\n").partition(b"\n\n")
        if len(head) > MAX_REQUEST_BYTES or (not end and len(self.received) > MAX_REQUEST_BYTES):
            raise Rejected(HTTPStatus.REQUEST_HEADER_FIELDS_TOO_LARGE)
        if end:
            self.request = parse(head)
            self.received.clear()
        return bool(end or data)

    def answer(self, response: Response) -> None:
        """Start to send a response."""
        self.unsent = memoryview(response.encode(with_body=self.request is None or self.request.with_body))
        self.is_answered = True
        self.deadline = time.monotonic() + REQUEST_SECONDS
        self.write()

    def write(self) -> None:
        """Send as much of the response as the system accepts.

        Raises:
            OSError: the connection is broken.
        """
        with suppress(BlockingIOError):
            while self.unsent:
                self.unsent = self.unsent[self.client.send(self.unsent) :]
            self.client.shutdown(socket.SHUT_WR)
            self.deadline = time.monotonic() + LINGER_SECONDS


def parse(head: bytes) -> Request:
    """Parse the first line of a request.

    Raises:
        Rejected: it is invalid, or the method is not GET or HEAD.
    """
    words = head.partition(b"\n")[0].decode("latin-1").split(" ")
    if len(words) != 3 or not words[1].startswith("/") or not words[2].startswith("HTTP/1."):
        raise Rejected(HTTPStatus.BAD_REQUEST)
    method, target, _ = words
    if method not in METHODS:
        raise Rejected(HTTPStatus.METHOD_NOT_ALLOWED)
    return Request(target.partition("?")[0], time.monotonic(), method == "GET")


class HttpServer:
    """Server of short responses. No client can block it: it never waits for a single one.

    Args:
        listener: accepts the connections.
        respond: returns the response to a request, or None if it is not ready. Then it is called again soon.
    """

    def __init__(self, listener: Listener, respond: Callable[[Request], Response | None]) -> None:
        assert listener.socket is not None
        self.socket, self.respond = listener.socket, respond
        self.selector = selectors.DefaultSelector()
        self.selector.register(self.socket, selectors.EVENT_READ)
        self.connections: dict[int, Connection] = {}
        self.accept_at = 0.0
        """Time from which connections are accepted again (`time.monotonic`, seconds)."""

    def step(self, longest: float) -> None:
        """Wait for requests, and handle what has arrived.

        Args:
            longest: maximum time to wait, in seconds.
        """
        if any(connection.is_deferred for connection in self.connections.values()):
            longest = min(longest, DEFERRED_CYCLE_SECONDS)
        for key, events in self.selector.select(longest):
            if key.fileobj is self.socket:
                self._accept()
            elif (connection := self.connections.get(key.fd)) is not None:
                self._handle(connection, events)
        now = time.monotonic()
        for connection in list(self.connections.values()):
            if connection.is_deferred:
                self._respond(connection)
            elif now > connection.deadline:
                self._close(connection)

    def close(self) -> None:
        """Close all connections. The listening socket stays open."""
        for connection in list(self.connections.values()):
            self._close(connection)
        self.selector.close()

    def _accept(self) -> None:
        now = time.monotonic()
        if now < self.accept_at:
            time.sleep(self.accept_at - now)
        try:
            client, _ = self.socket.accept()
        except BlockingIOError:
            return  # another process of the cluster has accepted it
        except OSError:
            self.accept_at = now + REFUSED_ACCEPT_SECONDS
            return
        client.setblocking(False)
        if len(self.connections) >= MAX_CONNECTIONS:
            self._close(min(self.connections.values(), key=lambda each: (each.is_deferred, each.deadline)))
        connection = self.connections[client.fileno()] = Connection(client)
        self.selector.register(client, selectors.EVENT_READ)
        self._handle(connection, selectors.EVENT_READ)

    def _handle(self, connection: Connection, events: int) -> None:
        try:
            if events & selectors.EVENT_WRITE:
                connection.write()
            if events & selectors.EVENT_READ and not connection.read():
                self._close(connection)
                return
            if connection.is_deferred:
                self._respond(connection)
        except Rejected as error:
            self._answer(connection, Response.of(error.status))
        except OSError:
            self._close(connection)
            return
        self._watch(connection)

    def _respond(self, connection: Connection) -> None:
        assert connection.request is not None
        response = self.respond(connection.request)
        if response is not None:
            self._answer(connection, response)
            self._watch(connection)

    def _answer(self, connection: Connection, response: Response) -> None:
        try:
            connection.answer(response)
        except OSError:
            self._close(connection)

    def _watch(self, connection: Connection) -> None:
        """Wait for what a connection needs next: nothing while its response is not ready."""
        if self.connections.get(connection.client.fileno()) is not connection:
            return
        with suppress(KeyError):
            self.selector.unregister(connection.client)
        if not connection.is_deferred:
            write = selectors.EVENT_WRITE if connection.unsent else 0
            self.selector.register(connection.client, selectors.EVENT_READ | write)

    def _close(self, connection: Connection) -> None:
        self.connections.pop(connection.client.fileno(), None)
        with suppress(KeyError, ValueError):
            self.selector.unregister(connection.client)
        connection.client.close()
