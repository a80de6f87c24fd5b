"""Listening socket of the probes, which the outermost process opens, so that a replaced process loses no request."""

from __future__ import annotations

import socket
from contextlib import suppress
from typing import Any, Final, NamedTuple

from django_q.exceptions import ConfigurationError

DEFAULT_HOST: Final = "127.0.0.1"

BACKLOG_CONNECTIONS: Final = 64
"""Number of connections that wait while the process is replaced."""

MAX_PORT: Final = 65_535


class Address(NamedTuple):
    """Host and port."""

    host: str
    port: int
    """0 for a free port."""

    @classmethod
    def parse(cls, text: str) -> Address:
        """Return the address of a text: `PORT`, `HOST:PORT` or `[IPv6]:PORT`.

        Raises:
            ConfigurationError: the text has another form.
        """
        host, _, port = text.strip().rpartition(":")
        host = host or DEFAULT_HOST
        if host.startswith("[") and host.endswith("]"):
            host = host[1:-1]
        elif ":" in host:
            raise ConfigurationError(f"--http {text!r}: write an IPv6 address in brackets, as in [::1]:8000.")
        if not (port.isascii() and port.isdecimal() and int(port) <= MAX_PORT):
            raise ConfigurationError(f"--http {text!r} is no PORT or HOST:PORT, such as 8000 or 0.0.0.0:8000.")
        return cls(host, int(port))

    def __str__(self) -> str:
        return f"[{self.host}]:{self.port}" if ":" in self.host else f"{self.host}:{self.port}"


class Listener:
    """Socket that accepts the connections of the probes. Every process of the cluster may have a copy.

    Args:
        address: address to listen on.

    Raises:
        ConfigurationError: the address cannot be used.
    """

    def __init__(self, address: Address) -> None:
        try:
            family, kind, protocol, _, place = socket.getaddrinfo(
                address.host, address.port, type=socket.SOCK_STREAM, flags=socket.AI_PASSIVE
            )[0]
            self.socket: socket.socket | None = socket.socket(family, kind, protocol)
        except OSError as error:
            raise _unusable(address, error) from error
        try:
            self.socket.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
            self.socket.bind(place)
            self.socket.listen(BACKLOG_CONNECTIONS)
            self.socket.setblocking(False)
        except OSError as error:
            self.socket.close()
            raise _unusable(address, error) from error
        self.address = Address(address.host, self.socket.getsockname()[1])
        """Address with the real port."""

    def __getstate__(self) -> dict[str, Any]:
        return {"socket": self.socket, "address": self.address}

    def __setstate__(self, state: dict[str, Any]) -> None:
        vars(self).update(state)
        if self.socket is not None:
            self.socket.setblocking(False)

    def close(self) -> None:
        """Close the copy of this process: programs that tasks leave behind must not keep the port."""
        if self.socket is not None:
            with suppress(OSError):
                self.socket.close()
            self.socket = None


def _unusable(address: Address, error: OSError) -> ConfigurationError:
    return ConfigurationError(
        f"--http: cannot listen on {address} ({error.strerror or error}). Choose another address, or end the program "
        "that uses it."
    )
