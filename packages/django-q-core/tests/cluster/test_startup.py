"""A cluster starts when its servers answer, and not before."""

from __future__ import annotations

import logging

import pytest
from django.db import OperationalError, connection
from django.test.utils import CaptureQueriesContext
from django_q.brokers.memory import MemoryBroker
from django_q.cluster import startup as module
from django_q.cluster.startup import tables, unavailable, wait_for_servers
from django_q.exceptions import BrokerUnavailable, ClusterNotStarted
from django_q.models import Record, Schedule, Task

pytestmark = pytest.mark.django_db


class Outage(MemoryBroker):
    """Broker that is unavailable for some pings."""

    left = 0

    def ping(self) -> bool:
        self.left -= 1
        return self.left < 0

    def queue_size(self) -> int:
        raise BrokerUnavailable("out of\norder")


@pytest.fixture
def settings(settings_of):
    return settings_of(broker_class=Outage)


@pytest.fixture
def broker(settings):
    return Outage("startup", settings=settings)


def test_servers_that_answer_cost_no_time(settings, broker):
    wait_for_servers(settings, broker, sleep=pytest.fail)


def test_outage_is_logged_once_and_the_pauses_grow(settings, broker, caplog, monkeypatch):
    monkeypatch.setattr(logging.getLogger("django-q"), "propagate", True)
    broker.left, pauses = 6, []
    wait_for_servers(settings, broker, sleep=pauses.append)
    assert len(pauses) == 6
    assert pauses[-1] > 2 * pauses[0] > 0
    (record,) = caplog.records
    assert record.levelname == "WARNING"
    assert "out of\\norder" in record.getMessage()
    assert "\n" not in record.getMessage()


def test_fail_fast_does_not_wait(settings, broker):
    broker.left = 1
    with pytest.raises(ClusterNotStarted, match="broker cannot be reached"):
        wait_for_servers(settings, broker, fail_fast=True, sleep=pytest.fail)


def test_each_table_of_the_app_is_read_without_a_row(settings, broker):
    (models,) = tables(settings, broker).values()
    assert {Task, Schedule, Record} <= {*models}
    with CaptureQueriesContext(
        connection,
    ) as queries:
        assert unavailable(settings, broker) == ""
    assert len(queries) == len(models)
    assert all("WHERE 1 = 0" in query["sql"] for query in queries)


def test_locked_table_is_an_outage_and_not_missing(settings, broker, monkeypatch):
    def locked(*args: object) -> bool:
        raise OperationalError("database is locked")

    monkeypatch.setattr(module, "lacks_table", locked)
    assert "database is locked" in unavailable(settings, broker)
