"""Amazon SQS, for tests: two emulators, which differ where SQS allows several behaviours."""

from __future__ import annotations

import socket
import threading
from contextlib import suppress
from functools import cached_property

from tests.services.environment import environment
from tests.services.ports import free_port
from tests.services.server import Server


class Emulator(Server):
    """A server that speaks SQS over HTTP, and a door through which clients reach it.

    An emulator loses its data when it ends, and SQS does not. So tests stop and start the door for an outage.
    """

    @property
    def options(self) -> dict[str, str]:
        """The setting `sqs`."""
        return {
            "aws_access_key_id": "test",
            "aws_region": "us-east-1",
            "aws_secret_access_key": "test",
            "endpoint_url": f"http://{self.door.address}",
        }

    @cached_property
    def door(self) -> Door:
        """Port for clients."""
        return Door(self.port)

    def close(self) -> None:
        """End it."""
        self.door.stop()
        super().close()

    def start(self, within: float = 60) -> None:
        """Start it and its door."""
        super().start(within)
        self.door.start()


class Ministack(Emulator):
    """The emulator ministack."""

    product = "ministack"

    def command(self) -> list[str]:
        """Listen on the loopback address only."""
        folder = environment("ministack")
        program = [str(folder / "hypercorn"), "ministack.app:app", "--bind", self.address]
        return ["env", f"GATEWAY_PORT={self.door.port}", *program]


# moto checks if a message is visible, and then hides it. If the thread is interrupted in between, two clients get it.
MOTO = "import sys; sys.setswitchinterval(10); from moto.server import main; main()"


class Moto(Emulator):
    """The server of moto."""

    product = "moto"

    def command(self) -> list[str]:
        """Listen on the loopback address only."""
        python = environment("flask", "flask-cors", "moto") / "python"
        return [str(python), "-c", MOTO, "-H", self.host, "-p", str(self.port)]


class Door:
    """Port whose connections are forwarded to another one.

    Args:
        target: the other port of the loopback address.
    """

    def __init__(self, target: int) -> None:
        self.target = target
        self.port = free_port()
        self._listener: socket.socket | None = None
        self._open: list[socket.socket] = []

    @property
    def address(self) -> str:
        """Host and port."""
        return f"127.0.0.1:{self.port}"

    def start(self) -> None:
        """Accept connections."""
        if self._listener is None:
            self._listener = socket.create_server(("127.0.0.1", self.port))
            threading.Thread(target=self._accept, args=(self._listener,), daemon=True).start()

    def stop(self) -> None:
        """Refuse connections, and close the open ones."""
        if self._listener is not None:
            for connection in (self._listener, *self._open):
                _close(connection)
            self._listener, self._open = None, []

    def _accept(self, listener: socket.socket) -> None:
        with suppress(OSError):
            while True:
                client, _address = listener.accept()
                server = socket.create_connection(("127.0.0.1", self.target))
                self._open += [client, server]
                for connection in (client, server):
                    connection.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
                for source, target in ((client, server), (server, client)):
                    threading.Thread(target=_copy, args=(source, target), daemon=True).start()


def _copy(source: socket.socket, target: socket.socket) -> None:
    with suppress(OSError):
        while data := source.recv(65_536):
            target.sendall(data)
    _close(source)
    _close(target)


def _close(connection: socket.socket) -> None:
    with suppress(OSError):
        connection.shutdown(socket.SHUT_RDWR)
    connection.close()
