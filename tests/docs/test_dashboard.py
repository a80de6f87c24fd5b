"""The Grafana dashboard asks for metrics and labels that a cluster has."""

from __future__ import annotations

import json
import re
from pathlib import Path

import pytest
from django_q.cluster.ipc.state import ClusterState
from django_q.cluster.metrics.survey import QueueSizes
from django_q.cluster.metrics.tallies import Tallies

parser = pytest.importorskip("prometheus_client.parser")
exposition = pytest.importorskip("django_q.cluster.metrics.exposition")

DASHBOARD = json.loads(Path(__file__).parents[2].joinpath("docs/how-to/grafana/django-q.json").read_text())

PROMQL = {"by", "histogram_quantile", "increase", "label_values", "le", "max", "min", "rate", "sum"}
"""Words of the query language that the dashboard uses."""

RANGE, TEXT, VARIABLE = r"\[[^]]*\]", r'"[^"]*"', r"\$\w+"


@pytest.fixture(scope="module")
def names() -> tuple[set[str], set[str]]:
    """Names of all samples of a cluster, and of their labels."""
    tallies = Tallies(1)
    tallies.finished("math.floor", "success", 0.1, 0.1)
    source = exposition.Source("mysite", ClusterState(1), tallies, {"q": QueueSizes(1, 1, 1)}, {"q": 1.0})
    families = parser.text_string_to_metric_families(exposition.exposition(source).decode())
    samples = [sample for family in families for sample in family.samples]
    return {sample.name for sample in samples}, {label for sample in samples for label in sample.labels}


def queries() -> list[str]:
    """All queries of the dashboard."""
    found = [target["expr"] for panel in DASHBOARD["panels"] for target in panel["targets"]]
    return found + [each["definition"] for each in DASHBOARD["templating"]["list"] if "definition" in each]


@pytest.mark.parametrize("query", queries())
def test_query_names_existing_metrics_and_labels(names, query):
    words = set(re.findall(r"[a-z_]\w*", re.sub(f"{RANGE}|{TEXT}|{VARIABLE}", " ", query)))
    metrics, labels = names
    assert words & metrics
    assert words - metrics - labels - PROMQL == set()
    assert query.count("(") == query.count(")")


def test_each_metric_is_in_the_dashboard(names):
    text = "\n".join(queries())
    assert [name for name in names[0] if name not in text and not name.endswith("_created")] == []


def test_panels_are_numbered_and_do_not_overlap():
    ids = [panel["id"] for panel in DASHBOARD["panels"]]
    places = [(panel["gridPos"]["x"], panel["gridPos"]["y"]) for panel in DASHBOARD["panels"]]
    assert len({*ids}) == len({*places}) == len(ids)
