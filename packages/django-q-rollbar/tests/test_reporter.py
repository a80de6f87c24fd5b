"""The reporter for Rollbar, with an HTTP server that speaks its protocol."""

from __future__ import annotations

import pytest
import rollbar
from django_q.context import running
from django_q.reporters import handle
from django_q.wire.package import new_package
from django_q_rollbar import Rollbar

from tests.services.error_service import ErrorService, ErrorServiceConformance

UNREACHABLE = "http://127.0.0.1:9/api/1/"


@pytest.fixture(autouse=True)
def unused(monkeypatch):
    """Return the library to its state before it was initialised."""
    rollbar._initialized = False
    for name, value in {**rollbar.SETTINGS, "access_token": None}.items():
        monkeypatch.setitem(rollbar.SETTINGS, name, value)


@pytest.fixture
def service():
    with ErrorService() as service:
        yield service
        rollbar.wait()


@pytest.fixture
def make(service):
    """Return a function that creates a reporter."""
    return lambda **options: Rollbar(**{"access_token": "token", "endpoint": service.endpoint, **options})


class TestRollbar(ErrorServiceConformance):
    unreachable_options = {"endpoint": UNREACHABLE}


def test_item_has_the_task(make, service) -> None:
    reporter = make(environment="ours")
    package = new_package("math.sqrt", (-1,), group="the group", name="the name", cluster="mail") | {"schedule": "7"}
    with running(package, 2):
        handle(ValueError("oh"), reporter.report)
    reporter.flush(5)
    (item,) = service.events
    assert (item["environment"], item["context"]) == ("ours", "math.sqrt")
    task = item["custom"]["task"]
    about = {"id": package["id"], "attempt": 2, "group": "the group", "schedule": "7", "queue": "mail"}
    assert about.items() <= task.items()
    assert list(task["arguments"].values()) == ["-1"]


def test_item_has_the_trace(make, service) -> None:
    reporter = make()
    with running(
        new_package("math.sqrt", (-1,))
        | {"trace": {"traceparent": "00-0af7651916cd43dd8448eb211c80319c-b7ad6b7169203331-01"}}
    ):
        handle(ValueError("oh"), reporter.report)
    reporter.flush(5)
    assert service.events[0]["custom"]["task"]["trace"] == "0af7651916cd43dd8448eb211c80319c"


def test_settings_of_the_project_are_used(make, service) -> None:
    rollbar.init("their token", environment="theirs", endpoint=service.endpoint)
    reporter = make(environment="ours", endpoint=UNREACHABLE)
    handle(ValueError("oh"), reporter.report)
    reporter.flush(5)
    assert service.events[0]["environment"] == "theirs"
