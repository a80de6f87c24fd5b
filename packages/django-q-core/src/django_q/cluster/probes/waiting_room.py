"""Answers the probes while a cluster waits for its servers, before it has processes."""

from __future__ import annotations

import threading
from contextlib import contextmanager
from http import HTTPStatus
from typing import TYPE_CHECKING, Final

from django_q.cluster.probes.http_server import OK, HttpServer, Response

if TYPE_CHECKING:
    from collections.abc import Iterator

    from django_q.cluster.probes.http_server import Request
    from django_q.cluster.probes.listener import Listener

STEP_SECONDS: Final = 0.05
"""Maximum time to the end of the thread."""

NOT_READY: Final = Response.of(HTTPStatus.SERVICE_UNAVAILABLE, "The cluster waits for its servers.")


@contextmanager
def waiting_room(listener: Listener | None) -> Iterator[None]:
    """Answer the probes in a thread during the block: the cluster is alive, and not ready.

    Args:
        listener: accepts the connections; None if there are no probes.
    """
    if listener is None:
        yield
        return
    ended = threading.Event()
    thread = threading.Thread(target=_serve, args=(listener, ended), name="probes", daemon=True)
    thread.start()
    try:
        yield
    finally:
        ended.set()
        thread.join()  # before the first fork


def _serve(listener: Listener, ended: threading.Event) -> None:
    server = HttpServer(listener, _respond)
    while not ended.is_set():
        server.step(STEP_SECONDS)
    server.close()


def _respond(request: Request) -> Response:
    match request.path:
        case "/livez":
            return OK
        case "/readyz" | "/metrics":
            return NOT_READY
        case _:
            return Response.of(HTTPStatus.NOT_FOUND)
