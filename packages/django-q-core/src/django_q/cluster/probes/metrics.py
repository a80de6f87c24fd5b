"""Answers requests for the metrics."""

from __future__ import annotations

from functools import partial
from http import HTTPStatus
from typing import TYPE_CHECKING

from django_q.cluster.metrics.exposition import CONTENT_TYPE_LATEST, Source, exposition
from django_q.cluster.metrics.survey import oldest_waits, queue_sizes
from django_q.cluster.probes.background import BackgroundCall
from django_q.cluster.probes.http_server import Response
from django_q.cluster.probes.readiness import ANSWER_SECONDS

if TYPE_CHECKING:
    from django_q.cluster.metrics.tallies import Tallies
    from django_q.cluster.process import Wiring


class Metrics:
    """Combines the counts in shared memory with the sizes of the queues, which it reads in threads.

    Args:
        wiring: shared resources of the cluster.
        tallies: its counts.
    """

    def __init__(self, wiring: Wiring, tallies: Tallies) -> None:
        self.wiring, self.tallies = wiring, tallies
        self.queues = BackgroundCall(partial(queue_sizes, wiring.settings), ANSWER_SECONDS)
        self.waits = BackgroundCall(partial(oldest_waits, wiring.settings), ANSWER_SECONDS)

    def respond(self, asked: float) -> Response | None:
        """Return the metrics; None while a server has not answered. One that is unavailable leaves its metrics out.

        Args:
            asked: time of the request (`time.monotonic`, seconds).
        """
        queues, waits = self.queues.result(asked), self.waits.result(asked)
        if queues is None or waits is None:
            return None
        source = Source(self.wiring.settings.list_key, self.wiring.state, self.tallies, queues.value, waits.value)
        return Response(HTTPStatus.OK, exposition(source), CONTENT_TYPE_LATEST)
