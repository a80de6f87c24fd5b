"""Spans of a real cluster arrive at an OTLP receiver, in the traces of their senders."""

from __future__ import annotations

from typing import Any

import pytest

from tests.docs.pages import DOCS, blocks_of
from tests.services.http_receiver import HttpReceiver

from .site import eventually

proto = pytest.importorskip(
    "opentelemetry.proto.collector.trace.v1.trace_service_pb2", reason="needs opentelemetry-exporter-otlp-proto-http"
)

PAGE = DOCS / "how-to" / "trace.md"

SEND = """
from django_q import tracing
from django_q.settings import current_settings
from django_q.tasks import async_chain, async_iter, async_task

async_task("jobs.mark", "one", hook="jobs.hook", task_name="one")
async_chain([("jobs.mark", ("two",)), ("jobs.mark", ("three",))])
async_iter("jobs.mark", [("four",), ("five",)], q_options={"callback": "jobs.hook"})
async_task("jobs.boom", "six", ack_failure=True)
tracing.flush(current_settings())
"""


class Receiver(HttpReceiver):
    """OTLP receiver."""

    content_type = "application/x-protobuf"

    def __init__(self) -> None:
        super().__init__()
        self.spans: list[Any] = []

    def receive(self, path: str, body: bytes) -> None:
        request = proto.ExportTraceServiceRequest.FromString(body)
        self.spans += [span for each in request.resource_spans for scope in each.scope_spans for span in scope.spans]

    def traces(self) -> list[list[str]]:
        """Return the names of the spans of each trace."""
        found: dict[bytes, list[str]] = {}
        for span in self.spans:
            found.setdefault(span.trace_id, []).append(span.name.replace("jobs.", ""))
        return sorted(sorted(names) for names in found.values())


def follow_page(site, port: int) -> None:
    """Configure the SDK of a site as the page does, with a receiver on another port."""
    [block] = blocks_of(PAGE, "python")
    provider, cluster, _ = block.code.partition("Q_CLUSTER = ")
    assert cluster
    assert ":4318/" in provider
    with (site.folder / "site_settings.py").open("a") as settings:
        settings.write(provider.replace(":4318/", f":{port}/"))


@pytest.fixture
def receiver():
    with Receiver() as receiver:
        yield receiver


@pytest.mark.parametrize("method", ["fork", "spawn"])
def test_spans_of_a_cluster_arrive_in_the_traces_of_their_senders(make_site, receiver, method) -> None:
    site = make_site("sqlite", tracing=True, workers=2, start_method=method)
    follow_page(site, receiver.port)
    with site.cluster() as cluster:
        site.run(SEND)
        eventually(lambda: len(site.notes()) == 8, within=30, why=lambda: (site.notes(), cluster.log))
        assert cluster.stop() == 0
    queue = site.q_cluster["name"]
    send, process = f"send {queue}", f"process {queue}"
    expected = [
        ["hook hook", process, send],
        [process, process, send, send],
        [process, process, process, send],
        [process, send],
    ]
    eventually(lambda: receiver.traces() == sorted(map(sorted, expected)), within=10, why=receiver.traces)


def test_receiver_that_is_away_delays_no_task(make_site) -> None:
    site = make_site("sqlite", tracing=True, workers=1)
    follow_page(site, 9)
    with site.cluster() as cluster:
        site.run(SEND)
        eventually(lambda: len(site.notes()) == 8, within=15, why=lambda: (site.notes(), cluster.log))
        assert cluster.stop() == 0
