"""The settings → an SQS client."""

from __future__ import annotations

import inspect
from typing import TYPE_CHECKING, Any

from boto3.session import Session
from botocore.config import Config
from botocore.exceptions import BotoCoreError
from django_q.brokers.process_local import ProcessLocal
from django_q.exceptions import ConfigurationError

if TYPE_CHECKING:
    from django_q.settings import ClusterSettings

WAIT_KEY = "receive_message_wait_time_seconds"
"""The key of `sqs` that is about fetching, not about the client."""

OLD_NAMES = {"aws_region": "region_name"}
"""Keys of the manual that boto3 calls otherwise."""

SESSION_ONLY = ("botocore_session", "profile_name")
"""Keywords that only the session takes; all others are given to the client."""

DEFAULTS = Config(
    connect_timeout=5,
    read_timeout=30,  # more than the longest long poll, 20 seconds
    retries={"mode": "standard", "total_max_attempts": 3},
    tcp_keepalive=True,
)
"""How patient the client is, unless the settings bring a `config` of their own."""

_clients: ProcessLocal[dict[str, Any]] = ProcessLocal(dict)


def client_for(settings: ClusterSettings) -> Any:
    """This process's client for *settings*: one, however many brokers and threads use it."""
    clients = _clients.get()
    key = repr(sorted((settings.sqs or {}).items()))
    if key not in clients:
        clients[key] = make_client(settings)
    return clients[key]


def make_client(settings: ClusterSettings) -> Any:
    """A session and its client, made of whatever boto3 takes."""
    session_options, client_options = split(settings)
    try:
        return Session(**session_options).client("sqs", **client_options)
    except (BotoCoreError, TypeError, ValueError) as error:
        raise ConfigurationError(f"Q_CLUSTER['sqs'] is not understood by boto3: {error}") from error


def split(settings: ClusterSettings) -> tuple[dict[str, Any], dict[str, Any]]:
    """The keywords of the session and those of the client; the settings stay as they are."""
    given = {OLD_NAMES.get(key, key): value for key, value in (settings.sqs or {}).items() if value is not None}
    given.pop(WAIT_KEY, None)
    session = {key: given.pop(key) for key in SESSION_ONLY if key in given}
    if unknown := given.keys() - inspect.signature(Session.client).parameters.keys():
        raise ConfigurationError(f"Q_CLUSTER['sqs'] has keys that boto3 does not know: {', '.join(sorted(unknown))}")
    return session, {**given, "config": DEFAULTS.merge(given.get("config") or Config())}
