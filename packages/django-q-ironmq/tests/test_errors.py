"""Classification of the responses of the service."""

from __future__ import annotations

import time
import uuid
from http import HTTPStatus
from pathlib import Path

import pytest
import requests
from django_q.exceptions import BrokerError, BrokerUnavailable, PackageTooLarge
from django_q.settings import ClusterSettings
from django_q_ironmq import IronMQBroker, client
from django_q_ironmq.errors import UNAVAILABLE, broker_error

TEMPORARY = [*UNAVAILABLE, 500, 502, 503, 504, 520]
REJECTED = [HTTPStatus.BAD_REQUEST, HTTPStatus.METHOD_NOT_ALLOWED, HTTPStatus.NOT_ACCEPTABLE, 413, 422]


@pytest.fixture
def broker(ironmq_server) -> IronMQBroker:
    ironmq_server.start()
    return IronMQBroker(
        f"own-{uuid.uuid4().hex[:12]}",
        settings=ClusterSettings.from_mapping({"iron_mq": ironmq_server.options, "retry": 60}),
    )


@pytest.fixture
def answer(monkeypatch: pytest.MonkeyPatch):
    """Return a function that lets the service answer all requests in one way, and returns the list of requests."""

    def answer(status: int, body: str = "{}", kind: str | None = "application/json") -> list[str]:
        made: list[str] = []

        def respond(self, url, method, *more, **options):
            made.append(method)
            response = requests.Response()
            response.status_code, response._content, response.url = status, body.encode(), url
            response.headers.update({"Content-Type": kind} if kind else {})
            return response

        monkeypatch.setattr(client.TimelyClient, "_doRequest", respond)
        return made

    return answer


@pytest.mark.parametrize("status", TEMPORARY)
def test_service_that_does_not_work_now_is_unavailable(broker, answer, status: int):
    broker.enqueue("package")
    [held] = broker.dequeue_many(1, 1)
    made = answer(status)
    started = time.monotonic()
    calls = [lambda: broker.enqueue("package"), lambda: broker.dequeue_many(1, 0), broker.queue_size]
    if status != HTTPStatus.FORBIDDEN:  # it also tells that a lease is lost
        calls += [lambda: broker.acknowledge(held.ack_id), lambda: broker.renew([held.ack_id])]
    for call in calls:
        with pytest.raises(BrokerUnavailable, match=str(status)):
            call()
    assert broker.ping() is False
    assert len(made) == len(calls) + 1
    assert time.monotonic() - started < 2


@pytest.mark.parametrize("status", REJECTED)
def test_request_that_is_wrong_is_rejected(broker, answer, status: int):
    answer(status)
    with pytest.raises(BrokerError) as caught:
        broker.enqueue("package")
    assert not isinstance(caught.value, BrokerUnavailable)
    assert isinstance(caught.value, PackageTooLarge) is (status == HTTPStatus.REQUEST_ENTITY_TOO_LARGE)


@pytest.mark.parametrize(
    ("body", "kind"),
    [("<html>", "text/html"), ("{", "application/json"), ("[]", "application/json"), ("{}", None)],
)
def test_answer_of_a_proxy_is_unavailable(broker, answer, body: str, kind: str | None):
    answer(200, body, kind)
    with pytest.raises(BrokerUnavailable):
        broker.enqueue("package")
    with pytest.raises(BrokerUnavailable):
        broker.dequeue_many(1, 0)
    assert broker.ping() is False


@pytest.mark.parametrize(
    "raised",
    [
        requests.ConnectionError("refused"),
        requests.Timeout("silent"),
        requests.exceptions.ChunkedEncodingError("cut"),
        requests.exceptions.SSLError("certificate"),
    ],
    ids=lambda raised: type(raised).__name__,
)
def test_service_that_is_not_reached_is_unavailable(raised: requests.RequestException):
    assert isinstance(broker_error(raised), BrokerUnavailable)


def test_invalid_address_is_rejected():
    assert not isinstance(broker_error(requests.exceptions.InvalidURL("http://:0")), BrokerUnavailable)


def test_rotated_token_is_unavailable_until_it_is_corrected(broker, ironmq_server):
    broker.enqueue("package")
    token = broker.connection.client.token_provider
    rotated = IronMQBroker(
        broker.list_key,
        settings=ClusterSettings.from_mapping({"iron_mq": {**ironmq_server.options, "token": "old"}}),
    )
    with pytest.raises(BrokerUnavailable, match="'token'"):
        rotated.dequeue_many(1, 0)
    rotated.connection.client.token_provider = token
    assert [each.package for each in rotated.dequeue_many(1, 1)] == ["package"]


def test_readme_lists_every_status():
    readme = (Path(__file__).parents[1] / "README.md").read_text()
    assert [status for status in UNAVAILABLE if str(int(status)) not in readme] == []
