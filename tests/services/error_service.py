"""HTTP server that speaks the protocols of Sentry and Rollbar, and keeps what it receives."""

from __future__ import annotations

import gzip
import json
import threading
import zlib
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import TYPE_CHECKING, Any

import pytest
from django_q.testing import ReporterConformance

if TYPE_CHECKING:
    from types import TracebackType
    from typing import Self

ANSWER = json.dumps({"err": 0, "result": {"id": None, "uuid": "x"}, "id": "x"}).encode()
"""Answer that both clients accept."""


class ErrorService:
    """Server on a free port of this machine.

    Events of Sentry and items of Rollbar are kept apart from other parts of an envelope, such as check-ins.
    """

    def __init__(self) -> None:
        self.events: list[dict[str, Any]] = []
        """Events of Sentry and items of Rollbar, in the order of their arrival."""
        self.check_ins: list[dict[str, Any]] = []
        """Check-ins of Sentry."""
        service = self

        class Handler(BaseHTTPRequestHandler):
            def do_POST(self) -> None:
                body = self.rfile.read(int(self.headers["Content-Length"]))
                match self.headers.get("Content-Encoding"):
                    case "gzip":
                        body = gzip.decompress(body)
                    case "deflate":
                        body = zlib.decompress(body)
                service.receive(body, envelope=self.path.endswith("/envelope/"))
                self.send_response(200)
                self.send_header("Content-Type", "application/json")
                self.send_header("Content-Length", str(len(ANSWER)))
                self.end_headers()
                self.wfile.write(ANSWER)

            def log_message(self, format: str, *args: object) -> None:  # noqa: A002 - the name of the base class
                pass

        self._server = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
        self._server.daemon_threads = True
        self._thread = threading.Thread(target=self._server.serve_forever, args=(0.05,), daemon=True)

    def receive(self, body: bytes, *, envelope: bool) -> None:
        """Keep the content of a request."""
        if not envelope:
            self.events.append(json.loads(body)["data"])
            return
        lines = body.decode().splitlines()
        for header, payload in zip(lines[1::2], lines[2::2], strict=True):
            kind = json.loads(header)["type"]
            if kind in ("event", "check_in"):
                (self.events if kind == "event" else self.check_ins).append(json.loads(payload))

    @property
    def port(self) -> int:
        """Its port."""
        return int(self._server.server_port)

    @property
    def dsn(self) -> str:
        """Address for clients of Sentry."""
        return f"http://public@127.0.0.1:{self.port}/1"

    @property
    def endpoint(self) -> str:
        """Address for clients of Rollbar."""
        return f"http://127.0.0.1:{self.port}/api/1/"

    def __enter__(self) -> Self:
        self._thread.start()
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, place: TracebackType | None
    ) -> None:
        self._server.shutdown()
        self._server.server_close()


class ErrorServiceConformance(ReporterConformance):
    """Promises of a reporter of one of these protocols. A subclass names its options for an unreachable service."""

    unreachable_options: dict[str, str]
    """Options with the address of a service that cannot be reached."""

    @pytest.fixture
    def reporter(self, make: Any, service: ErrorService) -> Any:
        """Return a reporter that sends to the service."""
        self.service = service
        return make()

    @pytest.fixture
    def unreachable(self, make: Any) -> Any:
        """Return a reporter whose service cannot be reached."""
        return make(**self.unreachable_options)

    def received(self) -> list[str]:
        """Return the events that the service has received."""
        return [json.dumps(event) for event in self.service.events]
