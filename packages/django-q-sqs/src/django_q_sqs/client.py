"""Creates the SQS client of a process from the settings."""

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
"""Key of the setting `sqs` for the fetches, which the client does not get."""

OLD_NAMES = {"aws_region": "region_name"}
"""Keys of the manual, with boto3's names for them."""

SESSION_ONLY = ("botocore_session", "profile_name")
"""Keywords of the session. All others are keywords of the client."""

DEFAULTS = Config(
    connect_timeout=5,
    read_timeout=30,  # more than the maximum long poll, 20 seconds
    retries={"mode": "standard", "total_max_attempts": 3},
    tcp_keepalive=True,
)
"""Timeouts and retries of the client, which a `config` in the settings overrides."""

_clients: ProcessLocal[dict[str, Any]] = ProcessLocal(dict)


def client_for(settings: ClusterSettings) -> Any:
    """Return this process's client for *settings*, which all brokers and threads share."""
    clients = _clients.get()
    key = repr(sorted((settings.sqs or {}).items()))
    if key not in clients:
        clients[key] = make_client(settings)
    return clients[key]


def make_client(settings: ClusterSettings) -> Any:
    """Create a session and its client.

    Raises:
        ConfigurationError: boto3 rejects the settings.
    """
    session_options, client_options = split(settings)
    try:
        return Session(**session_options).client("sqs", **client_options)
    except (BotoCoreError, TypeError, ValueError) as error:
        raise ConfigurationError(f"boto3 rejects Q_CLUSTER['sqs']: {error}") from error


def split(settings: ClusterSettings) -> tuple[dict[str, Any], dict[str, Any]]:
    """Return the keywords of the session and those of the client, without changing the settings.

    Raises:
        ConfigurationError: boto3 does not know a key.
    """
    given = {OLD_NAMES.get(key, key): value for key, value in (settings.sqs or {}).items() if value is not None}
    given.pop(WAIT_KEY, None)
    session = {key: given.pop(key) for key in SESSION_ONLY if key in given}
    if unknown := given.keys() - inspect.signature(Session.client).parameters.keys():
        raise ConfigurationError(f"Q_CLUSTER['sqs'] has keys that boto3 does not know: {', '.join(sorted(unknown))}")
    return session, {**given, "config": DEFAULTS.merge(given.get("config") or Config())}
