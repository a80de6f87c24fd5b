"""Classifies the errors of the client: IronMQ is unavailable, or it rejects a request."""

from __future__ import annotations

from contextlib import contextmanager
from http import HTTPStatus
from types import MappingProxyType
from typing import TYPE_CHECKING, Final

import requests
from django_q.exceptions import BrokerError, BrokerUnavailable, PackageTooLarge

if TYPE_CHECKING:
    from collections.abc import Iterator, Mapping

UNAVAILABLE: Final[Mapping[int, str]] = MappingProxyType(
    {
        HTTPStatus.UNAUTHORIZED: "check 'token' in Q_CLUSTER['iron_mq']",
        HTTPStatus.PAYMENT_REQUIRED: "check the account of the project",
        HTTPStatus.FORBIDDEN: "check that the project is not suspended, nor beyond its limits",
        HTTPStatus.PROXY_AUTHENTICATION_REQUIRED: "check the user and the password of the proxy",
        HTTPStatus.REQUEST_TIMEOUT: "wait for the service",
        HTTPStatus.TOO_MANY_REQUESTS: "send fewer requests, or raise the limit of the project",
    }
)
"""Remedy for each status of a service that is unavailable, in general or for this token; as is each from 500 on."""

ADDRESS_ERRORS: Final = (
    requests.exceptions.InvalidURL,
    requests.exceptions.MissingSchema,
    requests.exceptions.InvalidSchema,
)
"""Errors of the client if the address in the settings is invalid."""


class ForeignAnswer(requests.RequestException):
    """The response is not from IronMQ, but maybe from a proxy."""


@contextmanager
def converting_errors() -> Iterator[None]:
    """Raise the errors of the client within a block as errors of brokers."""
    try:
        yield
    except requests.RequestException as error:
        raise broker_error(error) from error


@contextmanager
def keeping() -> Iterator[None]:
    """Raise the errors of files within a block as an error of brokers.

    Raises:
        BrokerUnavailable: a file cannot be written, such as on a full disk.
    """
    try:
        yield
    except OSError as error:
        raise BrokerUnavailable(
            f"The reservation ids of IronMQ cannot be stored ({error}): free space in the folder for temporary files"
        ) from error


def broker_error(error: requests.RequestException) -> BrokerError:
    """Return the error of brokers for one of the client.

    Returns:
        `BrokerUnavailable` if the same request may succeed later; `PackageTooLarge` or another `BrokerError` if the
        service rejects the request itself.
    """
    if isinstance(error, ADDRESS_ERRORS):
        return BrokerError(f"IronMQ has no such address ({error}): check Q_CLUSTER['iron_mq']")
    if not isinstance(error, requests.HTTPError):
        return BrokerUnavailable(f"IronMQ cannot be reached: {error}")
    status = status_of(error)
    if status in UNAVAILABLE:
        return BrokerUnavailable(f"IronMQ is unavailable ({error}): {UNAVAILABLE[status]}")
    if status >= HTTPStatus.INTERNAL_SERVER_ERROR:
        return BrokerUnavailable(f"IronMQ is unavailable ({error}): wait for the service")
    if status == HTTPStatus.REQUEST_ENTITY_TOO_LARGE:
        return PackageTooLarge(f"IronMQ rejects packages of this size ({error}): send a reference instead of the data")
    return BrokerError(f"IronMQ rejects a request: {error}")


def status_of(error: requests.HTTPError) -> int:
    """Return the HTTP status of IronMQ's response; 0 without one."""
    return 0 if error.response is None else error.response.status_code
