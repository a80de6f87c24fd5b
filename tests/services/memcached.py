"""Memcached, for tests of caches."""

from __future__ import annotations

from tests.services.server import Server, program


class Memcached(Server):
    """The installed memcached. Its data is lost when it ends."""

    product = "memcached"
    account = "nobody"

    def command(self) -> list[str]:
        """Listen on the loopback address only, without UDP."""
        return [program("memcached", "/usr/bin"), "-l", self.host, "-p", str(self.port), "-U", "0", "-m", "64"]

    def ready(self) -> bool:
        """Return True if it answers with its version."""
        return self.say("version").startswith("VERSION")

    def flush(self) -> None:
        """Delete all data."""
        self.say("flush_all")
