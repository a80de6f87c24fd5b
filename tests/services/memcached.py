"""Memcached, for tests of what is kept in a cache."""

from __future__ import annotations

import socket
from contextlib import suppress

from tests.services.server import Server, program


class Memcached(Server):
    """The memcached that is installed; it keeps nothing when it is stopped."""

    product = "memcached"
    account = "nobody"

    def command(self) -> list[str]:
        """Listen on the loopback address only, without UDP."""
        return [program("memcached", "/usr/bin"), "-l", self.host, "-p", str(self.port), "-U", "0", "-m", "64"]

    def ready(self) -> bool:
        """True if it tells its version."""
        return self.say("version").startswith("VERSION")

    def flush(self) -> None:
        """Forget everything."""
        self.say("flush_all")

    def say(self, command: str) -> str:
        """Return its answer to a command; an empty text when it is away."""
        with suppress(OSError), socket.create_connection((self.host, self.port), timeout=5) as connection:
            connection.sendall(f"{command}\r\n".encode())
            return connection.recv(65_536).decode().rstrip()
        return ""
