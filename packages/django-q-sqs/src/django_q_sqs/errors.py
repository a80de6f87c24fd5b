"""Classifies the errors of SQS and of boto3; the README has the table."""

from __future__ import annotations

import time
from contextlib import contextmanager
from email.utils import parsedate_to_datetime
from typing import TYPE_CHECKING, Any, Final

from botocore.exceptions import (
    BotoCoreError,
    ClientError,
    ConnectionError,  # noqa: A004 - not the built-in one, nor a descendant of it
    CredentialRetrievalError,
    HTTPClientError,
    IncompleteReadError,
    MetadataRetrievalError,
    NoCredentialsError,
    PartialCredentialsError,
    TokenRetrievalError,
)
from botocore.parsers import ResponseParserError
from django_q.exceptions import BrokerError, BrokerUnavailable, ConfigurationError, PackageTooLarge

if TYPE_CHECKING:
    from collections.abc import Iterator, Mapping

NO_ANSWER: Final = (
    ConnectionError,
    CredentialRetrievalError,
    HTTPClientError,
    IncompleteReadError,
    MetadataRetrievalError,
    ResponseParserError,  # for example for the HTML page of a proxy
    TokenRetrievalError,
)
"""Errors of boto3 if SQS, or the service that provides the credentials, cannot be reached."""

UNAVAILABLE_STATUSES: Final = {401, 403, 408, 429}
"""HTTP statuses of rejected keys and permissions, timeouts and throttling. Those from 500 on are faults of SQS."""

UNAVAILABLE_CODES: Final = {
    *("AccessDenied", "AccessDeniedException", "AuthFailure", "ExpiredToken", "ExpiredTokenException"),
    *("IncompleteSignature", "InvalidAccessKeyId", "InvalidClientTokenId", "InvalidSecurity"),
    *("InvalidSignatureException", "MissingAuthenticationToken", "NotAuthorized", "OptInRequired"),
    *("RequestExpired", "RequestTimeTooSkewed", "SignatureDoesNotMatch", "UnrecognizedClientException"),
    *("LimitExceededException", "OverLimit", "PriorRequestNotComplete", "RequestLimitExceeded", "RequestThrottled"),
    *("RequestThrottledException", "SlowDown", "TooManyRequestsException"),
    *("InternalError", "InternalFailure", "RequestTimeout", "RequestTimeoutException", "ServiceUnavailable"),
    *("NonExistentQueue", "QueueDeletedRecently", "QueueDoesNotExist"),
}
"""Codes of temporary states: keys and permissions, limits, the service, the queue."""

DENIED_CODES: Final = {"AccessDenied", "AccessDeniedException", "NotAuthorized"}
"""Codes of a key without the permission for a request."""

TOO_LARGE_CODES: Final = {"BatchRequestTooLong", "MessageTooLong", "RequestEntityTooLarge"}


@contextmanager
def converting_errors() -> Iterator[None]:
    """Raise the errors of boto3 within a block as errors of brokers.

    Raises:
        ConfigurationError: there are no credentials.
        BrokerUnavailable: the same request may succeed later.
        BrokerError: SQS or boto3 rejects the request.
    """
    try:
        yield
    except (NoCredentialsError, PartialCredentialsError) as error:
        raise ConfigurationError(
            f"SQS needs credentials, in Q_CLUSTER['sqs'] or as boto3 finds them: {error}"
        ) from error
    except NO_ANSWER as error:
        raise BrokerUnavailable(f"SQS cannot be reached: {error}") from error
    except BotoCoreError as error:
        raise BrokerError(f"boto3 rejects the request: {error}") from error
    except ClientError as error:
        raise meaning_of(error) from error


def meaning_of(error: ClientError) -> BrokerError:
    """Return the error of brokers for an error response of SQS."""
    code = short(error.response.get("Error", {}).get("Code", ""))
    status = error.response.get("ResponseMetadata", {}).get("HTTPStatusCode", 0)
    if status >= 500 or status in UNAVAILABLE_STATUSES or is_temporary(code):
        return BrokerUnavailable(f"SQS is unavailable: {error}")
    if code in TOO_LARGE_CODES or status == 413 or "must be shorter than" in str(error):
        return PackageTooLarge(f"SQS rejects the package: {error}")
    return BrokerError(f"SQS rejects a request: {error}")


def is_denied(error: ClientError) -> bool:
    """Return True if the key has no permission for the request."""
    return short(error.response.get("Error", {}).get("Code", "")) in DENIED_CODES


def has_temporary_fault(entry: Mapping[str, Any]) -> bool:
    """Return True if an entry of a batch failed because of a temporary fault of SQS."""
    return not entry["SenderFault"] or is_temporary(short(str(entry.get("Code", ""))))


def is_too_long(entry: Mapping[str, Any]) -> bool:
    """Return True if a lease was not extended because it would exceed the twelve hours. It lasts as before."""
    return "beyond the limit" in str(entry.get("Message", ""))


def is_no_answer(error: BrokerError) -> bool:
    """Return True if SQS could not be reached, so that another request would fail, too."""
    return isinstance(error.__cause__, NO_ANSWER)


def server_time(answer: Mapping[str, Any]) -> float:
    """Return the end of the second in which SQS answered, in seconds since 1970.

    Without a date in the response, the clock of this host is used.
    """
    date = answer.get("ResponseMetadata", {}).get("HTTPHeaders", {}).get("date")
    return (parsedate_to_datetime(date).timestamp() if date else time.time()) + 1


def is_temporary(code: str) -> bool:
    """Return True if a code is that of a temporary state."""
    return code in UNAVAILABLE_CODES or code.startswith(("Kms", "KMS", "Throttl"))


def short(code: str) -> str:
    """Return a code without its prefix, such as `AWS.SimpleQueueService.`."""
    return code.rpartition("#")[2].rpartition(".")[2]


def value_of(answer: Mapping[str, Any], name: str) -> str:
    """Return a value of a response.

    Raises:
        BrokerUnavailable: it is missing, because the response is not from SQS.
    """
    if name not in answer:
        raise BrokerUnavailable(f"SQS cannot be reached: a response without {name}")
    return str(answer[name])
