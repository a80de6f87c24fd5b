"""Process of the probes: answers HTTP requests about the cluster."""

from __future__ import annotations

from http import HTTPStatus
from typing import TYPE_CHECKING, ClassVar, Final

from django_q.cluster.probes.http_server import OK, HttpServer, Response
from django_q.cluster.probes.liveness import Liveness
from django_q.cluster.probes.readiness import Readiness
from django_q.cluster.process import ClusterProcess, Wiring
from django_q.log import messages as log

if TYPE_CHECKING:
    from django_q.cluster.metrics.tallies import Tallies
    from django_q.cluster.probes.http_server import Request
    from django_q.cluster.probes.metrics import Metrics

STEP_SECONDS: Final = 0.5
"""Maximum time of a step without a request."""

NO_METRICS: Final = Response.of(
    HTTPStatus.NOT_IMPLEMENTED, 'There are no metrics: pip install "django-q-core[metrics]", and restart the cluster.'
)


class Probes(ClusterProcess):
    """Serves `/livez`, `/readyz` and `/metrics`. It has no state: if it dies, its successor takes over the socket."""

    role: ClassVar[str] = "probes"
    serves_http: ClassVar[bool] = True

    def __init__(self, wiring: Wiring) -> None:
        super().__init__(wiring)
        assert wiring.listener is not None
        self.listener = wiring.listener
        self.liveness = Liveness(self.state, self.settings.guard_timeout)
        self.readiness = Readiness(self.settings, self.state)
        self.metrics = None if wiring.tallies is None else metrics_of(wiring, wiring.tallies)
        self.server = HttpServer(self.listener, self.respond)

    def announce(self) -> None:
        """Log the address."""
        log.process.serving_probes(self.name, str(self.listener.address))

    def step(self) -> bool:
        """Answer the requests that arrive within `STEP_SECONDS`. The sentinel ends the process."""
        self.liveness.look()
        self.server.step(STEP_SECONDS)
        return True

    def stop(self) -> None:
        """Close the connections."""
        self.server.close()

    def respond(self, request: Request) -> Response | None:
        """Return the response to a request; None if it is not ready."""
        match request.path:
            case "/livez":
                return judged(self.liveness.reasons())
            case "/readyz":
                return judged(self.readiness.reasons(request.received))
            case "/metrics":
                return NO_METRICS if self.metrics is None else self.metrics.respond(request.received)
            case _:
                return Response.of(HTTPStatus.NOT_FOUND)


def metrics_of(wiring: Wiring, tallies: Tallies) -> Metrics:
    """Return what answers requests for metrics. The library is only imported in a cluster that has them."""
    from django_q.cluster.probes.metrics import Metrics

    return Metrics(wiring, tallies)


def judged(reasons: list[str] | None) -> Response | None:
    """Return the response of a probe: 200, or 503 with the reasons; None if they are not known yet."""
    if reasons is None:
        return None
    return Response.of(HTTPStatus.SERVICE_UNAVAILABLE, *reasons) if reasons else OK
