"""A TCP proxy in front of a server, for tests of connections that block or break."""

from __future__ import annotations

import socket
import sys
from contextlib import suppress
from pathlib import Path

from tests.services.server import Server


class Proxy(Server):
    """Forwards connections from its own address to a server's; `stall`, `mute`, `drop`, `freeze`, `cut` disturb them.

    Use it as a context manager: `with Proxy(redis_server) as proxy: client = connect(proxy.host, proxy.port)`.

    Args:
        target: the server, or its host and port.
    """

    product = "proxy"

    def __init__(self, target: Server | tuple[str, int]) -> None:
        super().__init__()
        self.target = (target.host, target.port) if isinstance(target, Server) else target

    @property
    def connections(self) -> int:
        """Number of its open connections."""
        return self._say("count")

    def stall(self) -> None:
        """Accept connections, and forward nothing until `resume`."""
        self._say("stall")

    def mute(self) -> None:
        """Forward requests, and hold the answers until `resume`."""
        self._say("mute")

    def drop(self) -> None:
        """Reset each new connection until `resume`. Open ones are not affected."""
        self._say("drop")

    def freeze(self) -> None:
        """Forward nothing through the open connections until `cut`. New ones work."""
        self._say("freeze")

    def cut(self) -> int:
        """Reset all open connections, also those that are held. Return their number."""
        return self._say("cut")

    def resume(self) -> None:
        """Forward again, first the data that was held."""
        self._say("forward")

    def command(self) -> list[str]:
        """Run the proxy in a process of its own, which forks of the tests do not share."""
        program = str(Path(__file__).with_name("proxy_process.py"))
        return [sys.executable, program, str(self.port), *map(str, self.target), self._control]

    def ready(self) -> bool:
        """Return True if it listens."""
        with suppress(OSError):
            return self.connections == 0
        return False

    @property
    def _control(self) -> str:
        return str(self.folder / "control")

    def _say(self, command: str) -> int:
        with socket.socket(socket.AF_UNIX) as control:
            control.settimeout(10)
            control.connect(self._control)
            control.sendall(f"{command}\n".encode())
            return int(control.makefile().readline())
