"""Failures of real clusters arrive at a server that speaks the protocols of Sentry and Rollbar."""

from __future__ import annotations

import time

import pytest

from tests.services.error_service import ErrorService

from .site import eventually

TASKS = {
    "raises": ("'jobs.boom', 'x'", "ValueError"),
    "times out": ("'jobs.tidy', 'x', 30, timeout=0.5", "TimeoutException"),
    "dies": ("'jobs.suicide', 'x', 'kill'", "WorkerDied"),
    "exits": ("'jobs.suicide', 'x', 'sysexit'", "SystemExit"),
    "has a broken hook": ("'jobs.mark', 1, hook='jobs.boom'", "ValueError"),
}
"""A task for each kind of failure, by its name: the call, and the class that is reported."""


@pytest.fixture
def service():
    with ErrorService() as service:
        yield service


def reporters(service: ErrorService) -> dict[str, dict[str, str]]:
    return {
        "sentry": {"dsn": service.dsn},
        "rollbar": {"access_token": "token", "endpoint": service.endpoint, "environment": "test"},
    }


def described(event: dict) -> tuple[str, str, str]:
    """Return service, task and exception class of an event."""
    if "exception" in event:
        exception = event["exception"]["values"][-1]["type"]
        return "sentry", event["contexts"].get("Django Q", {}).get("name", ""), exception
    trace = event["body"].get("trace") or event["body"]["trace_chain"][0]
    return "rollbar", event["custom"].get("task", {}).get("name", ""), trace["exception"]["class"]


def send(site, calls: dict[str, str]) -> None:
    lines = [f"async_task({call}, task_name={name!r}, ack_failure=True)" for name, call in calls.items()]
    site.run("\n".join(["from django_q.tasks import async_task", *lines]))


def test_event_arrives_for_each_kind_of_failure(make_site, service) -> None:
    site = make_site("sqlite", error_reporter=reporters(service), recycle=1, workers=2)
    with site.cluster() as cluster:
        send(site, {name: call for name, (call, _) in TASKS.items()})
        site.run("from django_q.models import Schedule; Schedule.objects.create(func='jobs.mark', args='?')")
        kinds = {(name, kind) for name, (_, kind) in TASKS.items()} | {("", "ScheduleError")}
        expected = {(each, *kind) for each in ("sentry", "rollbar") for kind in kinds}
        eventually(
            lambda: {described(event) for event in service.events} == expected,
            within=40,
            why=lambda: ([described(event) for event in service.events], cluster.log),
        )
        assert cluster.stop() == 0
    assert len(service.events) == len(expected)


def test_unreachable_services_delay_no_task(make_site) -> None:
    dead = {
        "sentry": {"dsn": "http://public@127.0.0.1:9/1"},
        "rollbar": {"access_token": "token", "endpoint": "http://127.0.0.1:9/"},
    }
    site = make_site("sqlite", error_reporter=dead, workers=1)
    with site.cluster() as cluster:
        send(site, {"first": "'jobs.boom', 'first'"})
        eventually(lambda: site.notes(), within=20, why=lambda: cluster.log)
        began = time.monotonic()
        send(site, {f"bad {number}": "'jobs.boom', 'x'" for number in range(20)})
        failures = "from django_q.models import Failure; answer = Failure.objects.count()"
        eventually(lambda: site.run(failures) == 21, within=10, why=lambda: cluster.log)
        assert time.monotonic() - began < 10
        assert cluster.stop() == 0
