from __future__ import annotations

from typing import TYPE_CHECKING
from unittest import mock

import boto3
import pytest
from botocore.exceptions import (
    ClientError,
    ConnectTimeoutError,
    CredentialRetrievalError,
    EndpointConnectionError,
    ParamValidationError,
    ReadTimeoutError,
)
from django_q.exceptions import BrokerError, BrokerUnavailable, PackageTooLarge
from django_q.settings import ClusterSettings
from django_q.testing import BrokerConformance
from django_q_sqs import Sqs

if TYPE_CHECKING:
    from tests.services import Ministack, Moto


def answer(status: int, code: str) -> ClientError:
    """Return the error of the client for a response with a code."""
    response = {"Error": {"Code": code, "Message": "no"}, "ResponseMetadata": {"HTTPStatusCode": status}}
    return ClientError(response, "Operation")


IN_FLIGHT = "to SQS, a message that is released for later is still in flight"
NAMES = "SQS takes letters, digits, hyphens and underscores in the name of a queue"
PURGE = "SQS purges messages under a lease, too"
STALE = "SQS may take a receipt whose lease is over, or whose message is gone, for a good one; moto always does"


class SqsConformance(BrokerConformance):
    in_order = False
    suffix = ""
    large_batch = 52
    longest_name = 75
    knows_ended_leases = False
    client_errors = (
        (EndpointConnectionError(endpoint_url="u"), BrokerUnavailable),
        (ConnectTimeoutError(endpoint_url="u"), BrokerUnavailable),
        (ReadTimeoutError(endpoint_url="u"), BrokerUnavailable),
        (CredentialRetrievalError(provider="iam", error_msg="busy"), BrokerUnavailable),
        *((answer(403, code), BrokerUnavailable) for code in ("AccessDenied", "ExpiredToken", "InvalidClientTokenId")),
        *((answer(400, code), BrokerUnavailable) for code in ("ExpiredTokenException", "RequestExpired")),
        *((answer(403, code), BrokerUnavailable) for code in ("OverLimit", "RequestThrottled", "SlowDown")),
        (answer(400, "AWS.SimpleQueueService.OverLimit"), BrokerUnavailable),
        *((answer(400, code), BrokerUnavailable) for code in ("KmsThrottled", "ThrottlingException")),
        (answer(400, "AWS.SimpleQueueService.QueueDeletedRecently"), BrokerUnavailable),
        *((answer(status, "InternalError"), BrokerUnavailable) for status in (500, 502, 503)),
        (answer(400, "BatchRequestTooLong"), PackageTooLarge),
        (answer(413, "RequestEntityTooLarge"), PackageTooLarge),
        *((answer(400, code), BrokerError) for code in ("InvalidMessageContents", "InvalidParameterValue")),
        (ParamValidationError(report="wrong"), BrokerError),
    )
    not_promised = {
        "test_lock_size_does_not_count_delayed_releases": IN_FLIGHT,
        "test_names_in_any_script_are_separate": NAMES,
        "test_names_equal_in_a_collation_are_separate": NAMES,
        "test_names_with_punctuation_are_separate": NAMES,
        "test_names_with_spaces_are_separate": NAMES,
        "test_purge_keeps_leases": PURGE,
        "test_purge_keeps_the_attempts_of_leases": PURGE,
    }

    @pytest.fixture
    def emulator(self) -> Ministack | Moto:
        raise NotImplementedError

    @pytest.fixture
    def make_broker(self, emulator: Ministack | Moto):
        emulator.door.start()
        settings = ClusterSettings.from_mapping({"sqs": emulator.options})
        return lambda list_key: Sqs(list_key + self.suffix, settings=settings)

    @pytest.fixture
    def server(self, emulator: Ministack | Moto):
        return emulator.door

    @pytest.fixture
    def too_large(self) -> int:
        return 1_048_577

    @pytest.fixture
    def client_raises(self):
        return lambda broker, error: mock.patch.object(broker.connection, "_make_api_call", side_effect=error)

    @pytest.fixture
    def hold_as_old(self, emulator: Ministack | Moto):
        def hold_as_old(list_key: str, retry: float) -> str | None:
            options = {"region_name" if key == "aws_region" else key: value for key, value in emulator.options.items()}
            queue = boto3.resource("sqs", **options).get_queue_by_name(QueueName=list_key + self.suffix)
            found = queue.receive_messages(MaxNumberOfMessages=1, VisibilityTimeout=int(retry))
            return found[0].body if found else None

        return hold_as_old


class TestMinistack(SqsConformance):
    @pytest.fixture
    def emulator(self, ministack_server: Ministack):
        return ministack_server


@pytest.mark.variant
class TestMoto(SqsConformance):
    not_promised = {
        **SqsConformance.not_promised,
        "test_acknowledging_twice_is_harmless": STALE,
        "test_each_lost_lease_of_a_package_is_reported": STALE,
        "test_lost_lease_cannot_acknowledge": STALE,
        "test_lost_lease_cannot_be_renewed": STALE,
        "test_lost_lease_cannot_dead_letter": STALE,
        "test_lost_lease_cannot_expire": STALE,
        "test_lost_lease_cannot_release": STALE,
        "test_lost_lease_cannot_release_for_later": STALE,
        "test_lost_lease_is_known": STALE,
        "test_lost_leases_are_distinguished_from_kept_ones": STALE,
    }

    @pytest.fixture
    def emulator(self, moto_server: Moto):
        return moto_server


@pytest.mark.variant
class TestMinistackFifo(TestMinistack):
    """Suite on a FIFO queue, which delivers nothing while packages of the only message group are leased."""

    beside_leases = False
    in_order = True
    longest_name = 70
    suffix = ".fifo"
