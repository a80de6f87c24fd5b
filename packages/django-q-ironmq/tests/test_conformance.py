from __future__ import annotations

from typing import TYPE_CHECKING
from unittest import mock

import pytest
import requests
from django_q.exceptions import BrokerError, BrokerUnavailable, PackageTooLarge
from django_q.settings import ClusterSettings
from django_q.testing import BrokerConformance
from django_q_ironmq import IronMQBroker
from django_q_ironmq.client import ForeignAnswer
from iron_mq import IronMQ

if TYPE_CHECKING:
    from tests.services import IronMQ as Server

CLEAR = "IronMQ clears a queue of all messages, reserved ones too"


def answer(status: int) -> requests.HTTPError:
    """Return the error of the client for a response with a status."""
    response = requests.Response()
    response.status_code = status
    return requests.HTTPError(f"{status} for url", response=response)


class TestIronMQBroker(BrokerConformance):
    large_batch = 210
    not_promised = {"test_purge_keeps_leases": CLEAR, "test_purge_keeps_the_attempts_of_leases": CLEAR}
    client_errors = (
        (requests.ConnectionError("refused"), BrokerUnavailable),
        (requests.ConnectTimeout("silent"), BrokerUnavailable),
        (requests.ReadTimeout("silent"), BrokerUnavailable),
        (requests.exceptions.ChunkedEncodingError("cut off"), BrokerUnavailable),
        (ForeignAnswer("the page of a proxy"), BrokerUnavailable),
        *((answer(status), BrokerUnavailable) for status in (401, 402, 407, 408, 429, 500, 502, 503, 504)),
        (answer(413), PackageTooLarge),
        *((answer(status), BrokerError) for status in (405, 406, 422)),
        (requests.exceptions.InvalidURL("no address"), BrokerError),
    )

    @pytest.fixture
    def make_broker(self, ironmq_server: Server, monkeypatch: pytest.MonkeyPatch):
        # The service's 30 seconds are too long for tests that wait for the end of a lease.
        monkeypatch.setattr(IronMQBroker, "min_lease_seconds", 1)
        ironmq_server.start()
        settings = ClusterSettings.from_mapping({"iron_mq": ironmq_server.options})
        return lambda list_key: IronMQBroker(list_key, settings=settings)

    @pytest.fixture
    def server(self, ironmq_server: Server):
        return ironmq_server

    @pytest.fixture
    def too_large(self) -> int:
        return 256 * 1024 + 1

    @pytest.fixture
    def client_raises(self):
        return lambda broker, error: mock.patch.object(broker.connection.client, "_doRequest", side_effect=error)

    @pytest.fixture
    def hold_as_old(self, ironmq_server: Server):
        def hold_as_old(list_key: str, retry: float) -> str | None:
            found = IronMQ(**ironmq_server.options).queue(list_key).reserve(timeout=int(retry))
            return found["messages"][0]["body"] if found["messages"] else None

        return hold_as_old
