"""The reporter for Sentry, with an HTTP server that speaks its protocol."""

from __future__ import annotations

import logging

import pytest
import sentry_sdk
from django_q import signals
from django_q.context import running
from django_q.reporters import handle
from django_q.wire.package import new_package
from django_q_sentry import Sentry

from tests.services.error_service import ErrorService, ErrorServiceConformance

UNREACHABLE = "http://public@127.0.0.1:9/1"


@pytest.fixture
def service():
    with ErrorService() as service:
        yield service
        close()


def close() -> None:
    """Return the SDK to its state before it was initialised."""
    sentry_sdk.get_client().close(timeout=0)
    sentry_sdk.get_global_scope().set_client(None)
    sentry_sdk.get_isolation_scope().clear()


@pytest.fixture
def make(service):
    """Return a function that creates a reporter, which is disconnected after the test."""
    made = []

    def create(**options: object) -> Sentry:
        made.append(Sentry(**{"dsn": service.dsn, "default_integrations": False, **options}))
        return made[-1]

    yield create
    for reporter in made:
        signals.pre_execute.disconnect(reporter._task_begins)
        signals.post_execute_in_worker.disconnect(reporter._task_ends)


@pytest.fixture
def sent(service):
    """Return a function that returns the events which a reporter has sent."""

    def events(reporter: Sentry) -> list[dict]:
        reporter.flush(5)
        return service.events

    return events


class TestSentry(ErrorServiceConformance):
    unreachable_options = {"dsn": UNREACHABLE}


@pytest.fixture
def package():
    return new_package("math.sqrt", (-1,), group="the group", name="the name", cluster="mail") | {"schedule": "7"}


def execute(package, *, success: bool = True, during=lambda: None) -> None:
    """Send the signals of a task, as the executor does."""
    with running(package):
        signals.emit(signals.pre_execute, func=None, task=package)
        during()
        signals.emit(signals.post_execute_in_worker, func=None, task={**package, "success": success})


def test_event_has_the_task(make, sent, package) -> None:
    reporter = make()
    with running(package, 2):
        handle(ValueError("oh"), reporter.report)
    (event,) = sent(reporter)
    assert event["transaction"] == "math.sqrt"
    assert event["tags"]["django_q.task"] == "the name"
    assert event["tags"]["django_q.queue"] == "mail"
    about = {"id": package["id"], "attempt": 2, "group": "the group", "schedule": "7", "function": "math.sqrt"}
    assert about.items() <= event["contexts"]["Django Q"].items()
    assert list(event["extra"]["arguments"].values()) == ["-1"]


def test_event_has_the_trace(make, sent, package) -> None:
    reporter = make()
    with running(package | {"trace": {"traceparent": "00-0af7651916cd43dd8448eb211c80319c-b7ad6b7169203331-01"}}):
        handle(ValueError("oh"), reporter.report)
    (event,) = sent(reporter)
    assert event["contexts"]["Django Q"]["trace"] == "0af7651916cd43dd8448eb211c80319c"


def test_event_has_breadcrumbs_of_its_task_only(make, sent, package) -> None:
    reporter = make()
    sentry_sdk.add_breadcrumb(message="of the process")
    execute(package, during=lambda: (sentry_sdk.add_breadcrumb(message="of the first"), sentry_sdk.set_tag("first", 1)))

    def fail() -> None:
        sentry_sdk.add_breadcrumb(message="of the second")
        handle(ValueError("oh"), reporter.report)

    execute(package, during=fail)
    (event,) = sent(reporter)
    assert [each["message"] for each in event["breadcrumbs"]["values"]] == ["of the second"]
    assert "first" not in event["tags"]


def test_task_that_did_not_end_leaves_no_scope(make, sent, package) -> None:
    reporter = make()
    signals.emit(signals.pre_execute, func=None, task=package)
    sentry_sdk.set_tag("lost", 1)
    execute(package, during=lambda: handle(ValueError("oh"), reporter.report))
    assert "lost" not in sent(reporter)[0]["tags"]


def test_client_of_the_project_is_used(service, make, sent) -> None:
    sentry_sdk.init(dsn=service.dsn, environment="theirs", default_integrations=False)
    client = sentry_sdk.get_client()
    reporter = make(dsn=UNREACHABLE, environment="ours")
    handle(ValueError("oh"), reporter.report)
    assert sent(reporter)[0]["environment"] == "theirs"
    assert sentry_sdk.get_client() is client


def test_log_line_makes_no_second_event(make, sent) -> None:
    reporter = make(default_integrations=True)
    logging.getLogger("django-q").error("Failed 'some.function'")
    logging.getLogger("other").error("an error of the project")
    handle(ValueError("oh"), reporter.report)
    logged = [event.get("logentry", {}).get("message") for event in sent(reporter)]
    assert logged == ["an error of the project", None]


@pytest.mark.parametrize(
    ("check_ins", "slug"),
    [
        (True, "the-group"),
        (["the group"], "the-group"),
        ({"the group": "slug"}, "slug"),
        (["another"], None),
        ({}, None),
    ],
)
@pytest.mark.parametrize("success", [True, False])
def test_task_of_a_schedule_checks_in(make, service, package, check_ins, slug, success) -> None:
    reporter = make(check_ins=check_ins)
    execute(package, success=success)
    reporter.flush(5)
    statuses = [] if slug is None else ["in_progress", "ok" if success else "error"]
    assert [each["status"] for each in service.check_ins] == statuses
    assert {each["monitor_slug"] for each in service.check_ins} == ({slug} if slug else set())
    assert len({each["check_in_id"] for each in service.check_ins}) == (slug is not None)


def test_task_without_a_schedule_checks_nothing_in(make, service) -> None:
    reporter = make(check_ins=True)
    execute(new_package("math.sqrt", (4,), group="the group"))
    reporter.flush(5)
    assert service.check_ins == []
