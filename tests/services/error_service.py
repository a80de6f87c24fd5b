"""HTTP server that speaks the protocols of Sentry and Rollbar, and keeps what it receives."""

from __future__ import annotations

import json
from typing import Any

import pytest
from django_q.testing import ReporterConformance

from tests.services.http_receiver import HttpReceiver

ANSWER = json.dumps({"err": 0, "result": {"id": None, "uuid": "x"}, "id": "x"}).encode()
"""Answer that both clients accept."""


class ErrorService(HttpReceiver):
    """Server of both protocols.

    Events of Sentry and items of Rollbar are kept apart from other parts of an envelope, such as check-ins.
    """

    answer = ANSWER

    def __init__(self) -> None:
        super().__init__()
        self.events: list[dict[str, Any]] = []
        """Events of Sentry and items of Rollbar, in the order of their arrival."""
        self.check_ins: list[dict[str, Any]] = []
        """Check-ins of Sentry."""

    def receive(self, path: str, body: bytes) -> None:
        """Keep the content of a request."""
        if not path.endswith("/envelope/"):
            self.events.append(json.loads(body)["data"])
            return
        lines = body.decode().splitlines()
        for header, payload in zip(lines[1::2], lines[2::2], strict=True):
            kind = json.loads(header)["type"]
            if kind in ("event", "check_in"):
                (self.events if kind == "event" else self.check_ins).append(json.loads(payload))

    @property
    def dsn(self) -> str:
        """Address for clients of Sentry."""
        return f"http://public@127.0.0.1:{self.port}/1"

    @property
    def endpoint(self) -> str:
        """Address for clients of Rollbar."""
        return f"http://127.0.0.1:{self.port}/api/1/"


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
