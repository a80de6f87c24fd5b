"""The settings → an IronMQ client."""

from __future__ import annotations

import threading
from typing import TYPE_CHECKING, Any

import requests
from django_q.brokers.process_local import ProcessLocal
from django_q.exceptions import ConfigurationError
from iron_core import IronClient
from iron_mq import IronMQ

from django_q_ironmq.errors import ForeignAnswer

if TYPE_CHECKING:
    from django_q.settings import ClusterSettings

TIMEOUT_SECONDS = (5.0, 40.0)
"""Seconds after which a silent server counts as gone: while connecting, and while it answers (a poll may take 30)."""

_clients: ProcessLocal[dict[str, TimelyMQ]] = ProcessLocal(dict)


class TimelyClient(IronClient):  # type: ignore[misc]
    """The product's client with time-outs, on connections that are kept; as it comes, a hung server hangs us."""

    def __init__(self, **options: Any) -> None:
        super().__init__(**options)
        self._local = threading.local()

    def close(self) -> None:
        """Close the connections of this thread."""
        session: requests.Session | None = vars(self._local).pop("session", None)
        if session is not None:
            session.close()

    def request(self, *arguments: Any, **options: Any) -> dict[str, Any]:
        """Send a request once; the product's client repeats some for 15 seconds, and may store a message twice.

        Raises:
            requests.RequestException: it was not answered, or not by IronMQ.
        """
        try:
            result: dict[str, Any] = super().request(*arguments, **{**options, "retry": False})
        except KeyError as error:
            raise ForeignAnswer(f"an answer without {error}") from error
        if not isinstance(result["body"], dict):
            raise ForeignAnswer(f"an answer of the type {result['content-type']}")
        return result

    def _doRequest(self, url: str, method: str, body: str = "", headers: dict[str, str] | None = None) -> Any:  # noqa: N802
        session: requests.Session | None = getattr(self._local, "session", None)
        if session is None:
            session = self._local.session = requests.Session()
        authorization = {"Authorization": f"OAuth {self.token_provider.getToken()}"}
        headers = {**(headers or {}), **authorization}
        return session.request(method, url, data=body, headers=headers, timeout=TIMEOUT_SECONDS)


class TimelyMQ(IronMQ):  # type: ignore[misc]
    """The product's API on a `TimelyClient`."""

    def __init__(self, **options: Any) -> None:
        options = {"api_version": self.API_VERSION, **options}
        self.client = TimelyClient(name=self.NAME, version=self.VERSION, product="iron_mq", **options)


def client_for(settings: ClusterSettings) -> TimelyMQ:
    """This process's client for *settings*: one, however many brokers and threads use it."""
    clients = _clients.get()
    key = repr(sorted((settings.iron_mq or {}).items()))
    if key not in clients:
        clients[key] = make_client(settings)
    return clients[key]


def make_client(settings: ClusterSettings) -> TimelyMQ:
    """A client, made of whatever IronMQ's own takes."""
    try:
        return TimelyMQ(**(settings.iron_mq or {}))
    except (TypeError, ValueError) as error:
        raise ConfigurationError(f"Q_CLUSTER['iron_mq'] is not understood by the IronMQ client: {error}") from error
