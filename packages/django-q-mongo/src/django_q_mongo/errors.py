"""Classifies the errors of pymongo; the README has the table."""

from __future__ import annotations

from contextlib import contextmanager
from typing import TYPE_CHECKING, Any, Final

from bson.errors import InvalidDocument
from django_q.exceptions import BrokerError, BrokerUnavailable, PackageTooLarge, mark_sent
from pymongo.errors import (
    BulkWriteError,
    ConnectionFailure,
    CursorNotFound,
    DocumentTooLarge,
    ExecutionTimeout,
    OperationFailure,
    PyMongoError,
    WaitQueueTimeoutError,
    WriteConcernError,
)

if TYPE_CHECKING:
    from collections.abc import Iterator, Mapping

CONNECTION_ERRORS: Final = (
    ConnectionFailure,
    CursorNotFound,
    ExecutionTimeout,
    WaitQueueTimeoutError,
    WriteConcernError,
)
"""Errors of the client if the server is down, has no primary, is slow, or waits for its secondaries."""

UNAVAILABLE_CODES: Final = {
    *(6, 7, 89, 9001, 10276),  # network between members
    *(91, 11600, 11602, 189, 10058, 10107, 13435, 13436),  # shutting down, or no primary
    *(11, 13, 18, 8000),  # keys and permissions
    *(24, 46, 50, 64, 112, 202, 262),  # locks, conflicts and timeouts
    *(74, 79, 100, 133, 134, 175, 211),  # too few members, or not ready
    *(43, 136, 237),  # the cursor is gone
    *(146, 292, 14031, 16500, 462),  # memory, disk, or a quota of requests
}
"""Codes of temporary states. https://www.mongodb.com/docs/manual/reference/error-codes/ lists them."""

RETRYABLE_LABELS: Final = ("RetryableWriteError", "TransientTransactionError", "SystemOverloadedError")
"""Labels with which the server marks errors of requests that may succeed if they are repeated."""

TOO_LARGE_CODES: Final = {10334, 17280, 17419, 17420}


@contextmanager
def converting_errors() -> Iterator[None]:
    """Raise the errors of pymongo within a block as errors of brokers.

    Raises:
        BrokerUnavailable: the same request may succeed later.
        BrokerError: MongoDB or pymongo rejects the request.
    """
    try:
        yield
    except (PyMongoError, InvalidDocument) as error:
        raise meaning_of(error) from error


def meaning_of(error: PyMongoError | InvalidDocument) -> BrokerError:
    """Return the error of brokers for an error of pymongo, with the positions of the queued packages."""
    meaning = kind_of(error)
    if isinstance(error, BulkWriteError) and not (error.details or {}).get("writeConcernErrors"):
        mark_sent(meaning, range((error.details or {}).get("nInserted", 0)))  # inserted in order, until one failed
    return meaning


def kind_of(error: PyMongoError | InvalidDocument) -> BrokerError:
    """Return the error of brokers for an error of pymongo."""
    codes = codes_of(error)
    if isinstance(error, CONNECTION_ERRORS) or has_retryable_label(error) or is_unconfirmed(error):
        return BrokerUnavailable(f"MongoDB cannot be reached: {error}")
    if codes and codes <= UNAVAILABLE_CODES:
        return BrokerUnavailable(f"MongoDB cannot be reached: {error}")
    if isinstance(error, (DocumentTooLarge, InvalidDocument)) or codes & TOO_LARGE_CODES:
        return PackageTooLarge(f"MongoDB rejects the package: {error}")
    return BrokerError(f"MongoDB rejects a request: {error}")


def is_unconfirmed(error: BaseException) -> bool:
    """Return True if all of a batch was written, and the secondaries did not confirm it."""
    details: Mapping[str, Any] = (error.details or {}) if isinstance(error, BulkWriteError) else {}
    return bool(details.get("writeConcernErrors")) and not details.get("writeErrors")


def codes_of(error: BaseException) -> set[int]:
    """Return the codes of an error; for a batch, those of all its parts."""
    if isinstance(error, BulkWriteError):
        details: Mapping[str, Any] = error.details or {}
        parts = [*details.get("writeErrors", ()), *details.get("writeConcernErrors", ())]
        return {int(part["code"]) for part in parts if "code" in part}
    return {error.code} if isinstance(error, OperationFailure) and error.code is not None else set()


def has_retryable_label(error: BaseException) -> bool:
    """Return True if the server marks the error as one of a request that can be repeated."""
    return isinstance(error, PyMongoError) and any(error.has_error_label(label) for label in RETRYABLE_LABELS)
