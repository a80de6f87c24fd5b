"""Amazon SQS, for tests: two emulators that disagree where SQS leaves room."""

from __future__ import annotations

import socket
import threading
from contextlib import suppress
from functools import cached_property

from tests.services.environment import environment
from tests.services.ports import free_port
from tests.services.server import Server


class Emulator(Server):
    """A server that speaks SQS over HTTP, and a door in front of it.

    Emulators forget everything when they end, as SQS never does: `shut` and `open` are how it goes away for a test.
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
        """Where clients come in."""
        return Door(self.port)

    def close(self) -> None:
        """End it."""
        self.door.stop()
        super().close()

    def start(self, within: float = 60) -> None:
        """Start it and open the door."""
        super().start(within)
        self.door.start()


class Ministack(Emulator):
    """ministack."""

    product = "ministack"

    def command(self) -> list[str]:
        """Listen on the loopback address only."""
        folder = environment("ministack")
        program = [str(folder / "hypercorn"), "ministack.app:app", "--bind", self.address]
        return ["env", f"GATEWAY_PORT={self.door.port}", *program]


# moto looks whether a message is visible, and then hides it: a thread that is interrupted in between gives it to two.
MOTO = "import sys; sys.setswitchinterval(10); from moto.server import main; main()"


class Moto(Emulator):
    """moto's server."""

    product = "moto"

    def command(self) -> list[str]:
        """Listen on the loopback address only."""
        python = environment("flask", "flask-cors", "moto") / "python"
        return [str(python), "-c", MOTO, "-H", self.host, "-p", str(self.port)]


class Door:
    """A port that leads to another one while it is open.

    Args:
        behind: the port of the loopback address that it leads to.
    """

    def __init__(self, behind: int) -> None:
        self.behind = behind
        self.port = free_port()
        self._listener: socket.socket | None = None
        self._inside: list[socket.socket] = []

    @property
    def address(self) -> str:
        """Host and port."""
        return f"127.0.0.1:{self.port}"

    def start(self) -> None:
        """Open it."""
        if self._listener is None:
            self._listener = socket.create_server(("127.0.0.1", self.port))
            threading.Thread(target=self._welcome, args=(self._listener,), daemon=True).start()

    def stop(self) -> None:
        """Shut it, and put everybody out."""
        if self._listener is not None:
            for line in (self._listener, *self._inside):
                _hang_up(line)
            self._listener, self._inside = None, []

    def _welcome(self, listener: socket.socket) -> None:
        with suppress(OSError):
            while True:
                guest, _address = listener.accept()
                host = socket.create_connection(("127.0.0.1", self.behind))
                self._inside += [guest, host]
                for line in (guest, host):
                    line.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
                for source, target in ((guest, host), (host, guest)):
                    threading.Thread(target=_copy, args=(source, target), daemon=True).start()


def _copy(source: socket.socket, target: socket.socket) -> None:
    with suppress(OSError):
        while data := source.recv(65_536):
            target.sendall(data)
    _hang_up(source)
    _hang_up(target)


def _hang_up(line: socket.socket) -> None:
    with suppress(OSError):
        line.shutdown(socket.SHUT_RDWR)
    line.close()
