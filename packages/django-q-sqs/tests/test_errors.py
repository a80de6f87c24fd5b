"""The table of the README: responses for which SQS is unavailable, and those that reject a package."""

from __future__ import annotations

import json
import re
from pathlib import Path

import pytest
from botocore.awsrequest import AWSResponse
from botocore.config import Config
from botocore.exceptions import (
    CredentialRetrievalError,
    EndpointConnectionError,
    MetadataRetrievalError,
    ParamValidationError,
    ReadTimeoutError,
)
from django_q.brokers.bands import Band
from django_q.exceptions import BrokerError, BrokerUnavailable, PackageTooLarge
from django_q.settings import ClusterSettings
from django_q_sqs import Sqs
from django_q_sqs.broker import Lease
from django_q_sqs.errors import NO_ANSWER, converting_errors, is_temporary

OPTIONS = {
    "region_name": "eu-central-1",
    "aws_access_key_id": "key",
    "aws_secret_access_key": "secret",
    "endpoint_url": "http://127.0.0.1:1",
    "config": Config(retries={"total_max_attempts": 1}),
}


class Body:
    """Body of a response."""

    def __init__(self, content: bytes) -> None:
        self.content = content

    def stream(self) -> list[bytes]:
        return [self.content]


@pytest.fixture
def answering():
    """Return a function that creates a broker whose client gets a response without a request."""
    brokers = []

    def answering(status: int, content: dict | bytes) -> Sqs:
        broker = Sqs("answered", settings=ClusterSettings.from_mapping({"sqs": OPTIONS}))
        broker._urls, broker._limits = {Band.NORMAL: "http://127.0.0.1:1/1/answered"}, {Band.NORMAL: 1000}
        for band in (Band.HIGH, Band.LOW):
            broker.note_missing(band)
        body = content if isinstance(content, bytes) else json.dumps(content).encode()
        headers = {"Content-Type": "application/x-amz-json-1.0"}

        def answer(request, **_more) -> AWSResponse:
            return AWSResponse(request.url, status, headers, Body(body))

        broker.connection.meta.events.register_first("before-send.sqs", answer, unique_id="answer")
        brokers.append(broker)
        return broker

    yield answering
    for broker in brokers:
        broker.connection.meta.events.unregister("before-send.sqs", unique_id="answer")


def kind_of(broker: Sqs, call) -> type[BrokerError]:
    with pytest.raises(BrokerError) as caught:
        call(broker)
    return type(caught.value)


@pytest.mark.parametrize(
    ("status", "code", "kind"),
    [
        *((500, code, BrokerUnavailable) for code in ("InternalFailure", "InternalError")),
        (503, "ServiceUnavailable", BrokerUnavailable),
        *((400, code, BrokerUnavailable) for code in ("ThrottlingException", "RequestThrottled", "Throttling")),
        *((403, code, BrokerUnavailable) for code in ("OverLimit", "RequestThrottled")),
        (400, "AWS.SimpleQueueService.OverLimit", BrokerUnavailable),
        *((403, code, BrokerUnavailable) for code in ("ExpiredToken", "InvalidClientTokenId", "SignatureDoesNotMatch")),
        *((400, code, BrokerUnavailable) for code in ("ExpiredTokenException", "RequestExpired")),
        *((403, code, BrokerUnavailable) for code in ("AccessDenied", "AccessDeniedException")),
        *((400, code, BrokerUnavailable) for code in ("KmsThrottled", "KmsInvalidState", "KmsAccessDenied")),
        (400, "QueueDeletedRecently", BrokerUnavailable),
        (400, "InvalidMessageContents", BrokerError),
        (400, "InvalidParameterValue", BrokerError),
        (400, "UnsupportedOperation", BrokerError),
        (400, "BatchRequestTooLong", PackageTooLarge),
    ],
)
def test_code_of_an_answer(answering, status, code, kind) -> None:
    broker = answering(status, {"__type": f"com.amazonaws.sqs#{code}", "message": "no"})
    assert kind_of(broker, lambda broker: broker.enqueue("package")) is kind


def test_message_over_a_lowered_limit_of_the_queue(answering) -> None:
    message = "One or more parameters are invalid. Reason: Message must be shorter than 10 bytes."
    broker = answering(400, {"__type": "com.amazonaws.sqs#InvalidParameterValue", "message": message})
    assert kind_of(broker, lambda broker: broker.enqueue("package")) is PackageTooLarge


@pytest.mark.parametrize("status", [200, 502])
def test_page_of_a_proxy_in_place_of_an_answer(answering, status) -> None:
    assert kind_of(answering(status, b"<html>"), lambda broker: broker.enqueue("package")) is BrokerUnavailable


@pytest.mark.parametrize(
    ("fault", "code", "kind"),
    [
        (False, "InternalError", BrokerUnavailable),
        (True, "AWS.SimpleQueueService.OverLimit", BrokerUnavailable),
        (True, "KmsThrottled", BrokerUnavailable),
        (True, "InvalidMessageContents", BrokerError),
    ],
)
def test_entry_of_a_batch_that_failed(answering, fault, code, kind) -> None:
    broker = answering(200, {"Failed": [{"Id": "0", "SenderFault": fault, "Code": code, "Message": "no"}]})
    assert kind_of(broker, lambda broker: broker.enqueue_many(["package"])) is kind


def test_throttled_acknowledgement_is_not_a_lost_lease(answering) -> None:
    entry = {"Id": "0", "SenderFault": True, "Code": "RequestThrottled", "Message": "no"}
    broker = answering(200, {"Failed": [entry], "Successful": []})
    lease = Lease("id", "receipt").ack_id
    assert kind_of(broker, lambda broker: broker.acknowledge_many([lease])) is BrokerUnavailable


@pytest.mark.parametrize(
    ("error", "kind"),
    [
        (EndpointConnectionError(endpoint_url="u"), BrokerUnavailable),
        (ReadTimeoutError(endpoint_url="u"), BrokerUnavailable),
        (CredentialRetrievalError(provider="iam", error_msg="busy"), BrokerUnavailable),
        (MetadataRetrievalError(error_msg="busy"), BrokerUnavailable),
        (ParamValidationError(report="wrong"), BrokerError),
    ],
)
def test_error_of_the_client(error, kind) -> None:
    with pytest.raises(BrokerError) as caught, converting_errors():
        raise error
    assert type(caught.value) is kind


def test_codes_of_the_readme_are_unavailable() -> None:
    readme = (Path(__file__).parents[1] / "README.md").read_text()
    errors = " ".join(re.findall(r"^\| ([^|]+) \| unavailable", readme, re.MULTILINE))
    names = set(re.findall(r"`(\w+)…?`", errors)) - {error.__name__ for error in NO_ANSWER}
    assert len(names) > 5
    assert [name for name in names if not is_temporary(name)] == []


def test_server_that_does_not_listen() -> None:
    broker = Sqs("nowhere", settings=ClusterSettings.from_mapping({"sqs": OPTIONS}))
    assert kind_of(broker, lambda broker: broker.enqueue("package")) is BrokerUnavailable
