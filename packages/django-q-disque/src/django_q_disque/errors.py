"""Classifies the errors of the client: Disque is unavailable, or it rejects a command."""

from __future__ import annotations

import re
from contextlib import contextmanager
from types import MappingProxyType
from typing import TYPE_CHECKING, Final

import redis
from django_q.exceptions import BrokerError, BrokerUnavailable, PackageTooLarge
from redis.exceptions import AuthenticationError, BusyLoadingError, OutOfMemoryError, RedisError, ResponseError

if TYPE_CHECKING:
    from collections.abc import Iterator, Mapping

CONNECTION_ERRORS: Final = (redis.ConnectionError, redis.TimeoutError)
"""Errors of the client if a node does not answer, or does not accept the connection."""

UNAVAILABLE: Final[Mapping[str, str]] = MappingProxyType(
    {
        "BUSY": "wait until the node has finished its work",
        "LEAVING": "name other nodes in Q_CLUSTER['disque_nodes']: this one leaves the cluster",
        "LOADING": "wait until the node has loaded its jobs",
        "MISCONF": "let the node write to its disk: its log has the reason",
        "NOAUTH": "check 'disque_auth' in Q_CLUSTER",
        "NOREPL": "start enough nodes for the copies of a job",
        "OOM": "free memory on the node, or raise its 'maxmemory'",
        "PAUSED": "end the pause of the queue: PAUSE <queue> none",
    }
)
"""Remedy for each code of a node that is unavailable, in general or for this password."""

NODE_CODES: Final = {"BUSY", "LEAVING", "LOADING", "MISCONF", "NOREPL", "OOM"}
"""Codes about one node only: another one may accept the command."""

CODES_BY_CLASS: Final[Mapping[type[RedisError], str]] = MappingProxyType(
    {AuthenticationError: "NOAUTH", BusyLoadingError: "LOADING", OutOfMemoryError: "OOM"}
)
"""Code of the errors of the client whose message lacks it."""

TOO_MANY_CLIENTS: Final = re.compile(r"max(imum)? number of clients")
"""Pattern of a node's reply if it has too many clients."""

TOO_LARGE: Final = "invalid bulk length"
"""Part of a node's reply to an argument that is too long."""

UNKNOWN_JOB_CODES: Final = ("BADID", "NOJOB")
"""Beginnings of a node's reply about a job that it does not know."""

TOO_LATE: Final = "TOOLATE"
"""Beginning of a node's reply to a renewal in the second half of a job's life. The lease stays as it is."""


class NotAccepted(Exception):
    """The node did not accept the command, and another one may."""


@contextmanager
def converting_errors() -> Iterator[None]:
    """Raise the errors of the client within a block as errors of brokers."""
    try:
        yield
    except (RedisError, NotAccepted) as error:
        raise broker_error(error) from error


def broker_error(error: Exception) -> BrokerError:
    """Return the error of brokers for one of the client.

    Returns:
        `BrokerUnavailable` if the same command may succeed later; `PackageTooLarge` or another `BrokerError` if the
        node rejects it.
    """
    if code := code_of(error):
        return BrokerUnavailable(f"Disque is unavailable ({code}: {error}): {UNAVAILABLE[code]}")
    if TOO_MANY_CLIENTS.search(str(error)):
        return BrokerUnavailable(f"Disque is unavailable ({error}): raise 'maxclients' of the node")
    if isinstance(error, (*CONNECTION_ERRORS, NotAccepted)):
        return BrokerUnavailable(f"Disque cannot be reached: {error}")
    if TOO_LARGE in str(error):
        return PackageTooLarge(f"Disque rejects packages of this size ({error}): send a reference instead of the data")
    return BrokerError(f"Disque rejects a command: {error}")


def code_of(error: Exception) -> str | None:
    """Return the code of `UNAVAILABLE` in a node's reply, or None."""
    for kind, code in CODES_BY_CLASS.items():
        if isinstance(error, kind):
            return code
    word = str(error).partition(" ")[0]
    return word if isinstance(error, ResponseError) and word in UNAVAILABLE else None
