from __future__ import annotations

import sys
from importlib.metadata import EntryPoint
from types import SimpleNamespace
from typing import TYPE_CHECKING, Any
from unittest.mock import patch

import pytest
from django.apps import apps
from django.core.checks import registry
from django.test import override_settings
from django_q import checks, reporters
from django_q.brokers import Broker
from django_q.brokers.memory import MemoryBroker
from django_q.brokers.registry import BROKERS

if TYPE_CHECKING:
    from django.core.checks import CheckMessage

PRIVATE = {"default": {"BACKEND": "django.core.cache.backends.locmem.LocMemCache"}}
MEMORY = "django_q.brokers.memory.MemoryBroker"
MEMORY_POINT = "django_q.brokers.memory:MemoryBroker"


class Forgetful(Broker):
    supports_receipts = True
    supports_renewal = False


@pytest.fixture(autouse=True)
def installed(monkeypatch: pytest.MonkeyPatch) -> None:
    """Install a Redis broker and a broker that is an app, but neither Sentry nor SQS."""
    points = {"redis": MEMORY_POINT, "orm": "wsgi:Broker"}
    found = {name: [EntryPoint(name, value, BROKERS.group)] for name, value in points.items()}
    monkeypatch.setattr(BROKERS, "_found", found)
    monkeypatch.setattr(BROKERS, "_loaded", {})
    monkeypatch.setattr(reporters.REPORTERS, "_found", {})
    monkeypatch.setattr(reporters.REPORTERS, "_loaded", {})
    monkeypatch.setitem(sys.modules, "wsgi", SimpleNamespace(Broker=MemoryBroker))
    monkeypatch.setattr("django_q.plugins.is_app", lambda package: package == "wsgi")


def found(**cluster: Any) -> dict[str, CheckMessage]:
    with override_settings(Q_CLUSTER=cluster, CACHES=PRIVATE):
        messages = [*checks.check_settings(None), *checks.check_installation(None)]
    assert all(message.hint for message in messages), "a message says what to do"
    return {str(message.id).removeprefix("django_q."): message for message in messages}


@pytest.mark.parametrize("cluster", [None, {}, {"name": "shop", "workers": 2, "timeout": 60, "redis": {"port": 1}}])
def test_usual_configuration_has_no_messages(cluster: Any) -> None:
    with override_settings(Q_CLUSTER=cluster):
        assert [*checks.check_settings(None), *checks.check_installation(None)] == []


def test_name_of_dead_letter_queue_is_valid_with_cluster_name() -> None:
    assert found(name="walking-dead", cluster_name="walking", redis={"port": 1}) == {}


@pytest.mark.parametrize(
    ("cluster", "number", "text"),
    [
        ({"workers": "4"}, "E001", "workers is '4'"),
        ({"guard_cycle": 60}, "E002", "below 60"),
        ({"name": "mail-dead"}, "E002", "name is 'mail-dead'"),
        ({"cluster_name": "mail-DEAD"}, "E002", "does not end in -dead"),
        ({"ALT_CLUSTERS": {"mail-dead": {}}}, "E002", "ALT_CLUSTERS['mail-dead']: cluster_name"),
        ({"ALT_CLUSTERS": {"mail-dead.fifo": {}}}, "E002", "ALT_CLUSTERS['mail-dead.fifo']: cluster_name"),
        ({"sqs": {}}, "E003", "pip install django-q-sqs"),
        ({"orm": "default"}, "E004", "INSTALLED_APPS"),
        ({"orm": "elsewhere"}, "E005", "DATABASES"),
        ({"cache": "elsewhere"}, "E006", "CACHES"),
        ({"django_redis": "elsewhere"}, "E006", "CACHES"),
        ({"broker_class": "no.such.Broker"}, "E007", "cannot be imported"),
        ({"broker_class": "json.JSONDecoder"}, "E007", "is not a broker"),
        ({"recyle": 5}, "W001", "recyle"),
        ({"redis": {"port": 1}, "orm": "default"}, "W002", "'orm' is used"),
        ({"broker_class": Forgetful, "timeout": 60}, "W003", "Forgetful offers a task again"),
        ({"cached": 60}, "W004", "other processes"),
        ({"error_reporter": {"sentry": {}}}, "W005", "django-q-sentry"),
    ],
)
def test_mistake_has_an_id_and_a_hint(cluster: dict[str, Any], number: str, text: str) -> None:
    assert text in found(**cluster)[number].msg


PLACES = {"task": "tasks", "batch": "batches", "record": "records", "command": "commands", "cacheentry": "cached"}
ALIASES = ("default", "queue", *PLACES.values(), "elsewhere")


class Router:
    """Router that puts schedules in the default database, and each other model in its own."""

    def db_for_write(self, model: Any, **hints: Any) -> str | None:
        return PLACES.get(model._meta.model_name)


AUTOMATIC: dict[str, Any] = {"ENGINE": "django.db.backends.sqlite3", "NAME": ":memory:"}
MANUAL = AUTOMATIC | {"AUTOCOMMIT": False}
DATABASE_CACHE = {"BACKEND": checks.DATABASE_CACHE, "LOCATION": "cache"}


@pytest.mark.parametrize("manual", ALIASES)
@pytest.mark.parametrize("sync", [True, False])
def test_written_database_without_autocommit_is_an_error(
    settings: Any, monkeypatch: pytest.MonkeyPatch, manual: str, sync: bool
) -> None:
    databases = {alias: MANUAL if alias == manual else AUTOMATIC for alias in ALIASES}
    monkeypatch.setattr(settings._wrapped, "DATABASES", databases)
    settings.DATABASE_ROUTERS = [Router()]
    settings.CACHES = {"default": DATABASE_CACHE}
    settings.Q_CLUSTER = {"orm": "queue", "sync": sync}
    numbers = [message.id for message in checks.check_installation(None) if message.id == "django_q.E009"]
    assert numbers == ([] if sync or manual == "elsewhere" else ["django_q.E009"])


def test_q_cluster_that_is_no_dictionary_is_one_error() -> None:
    with override_settings(Q_CLUSTER=["workers"]):
        assert [message.id for message in checks.check_settings(None)] == ["django_q.E001"]
        assert checks.check_installation(None) == []


@pytest.mark.parametrize(
    ("key", "meant"), [("recyle", "recycle"), ("ack_failure", "ack_failures"), ("alt_clusters", "ALT_CLUSTERS")]
)
def test_misspelt_key_has_a_suggestion(key: str, meant: str) -> None:
    assert found(**{key: None})["W001"].hint == f"Did you mean {meant!r}?"


def test_key_of_an_installed_plugin_is_known() -> None:
    with patch.object(BROKERS, "_found", {"rabbit": [EntryPoint("rabbit", MEMORY_POINT, BROKERS.group)]}):
        assert found(rabbit={"host": "h"}) == {}


def test_hint_names_the_app_of_the_broker() -> None:
    assert found(orm="default")["E004"].hint == "Add 'wsgi' to INSTALLED_APPS."


def test_installed_app_causes_no_message() -> None:
    with patch.object(apps, "get_app_configs", return_value=[SimpleNamespace(name="wsgi")]):
        assert found(orm="default") == {}


def test_lease_longer_than_the_timeout_causes_no_warning() -> None:
    assert found(broker_class=Forgetful, timeout=60, retry=61) == {}


def test_broker_that_renews_leases_may_have_a_long_timeout() -> None:
    assert found(broker_class=MEMORY, timeout=3600, retry=60) == {}


def test_sync_needs_no_broker() -> None:
    assert found(sync=True, sqs={}, cached=True) == {}


def test_messages_name_the_alternative_cluster() -> None:
    messages = found(workers="4", ALT_CLUSTERS={"slow": {"bulk": 0, "pol": 1}})
    assert messages["E001"].msg.startswith("workers")
    assert messages["E002"].msg.startswith("ALT_CLUSTERS['slow']: bulk")
    assert messages["W001"].msg.startswith("ALT_CLUSTERS['slow']: ")


@pytest.fixture
def broken(tmp_path, monkeypatch) -> str:
    """Return the name of a module that raises an error when it is imported."""
    (tmp_path / "broken_plugin.py").write_text("raise ValueError('no licence')")
    monkeypatch.syspath_prepend(tmp_path)
    return "broken_plugin"


def offer(registry: Any, name: str, *values: str) -> Any:
    """Install plugins with one name."""
    return patch.object(registry, "_found", {name: [EntryPoint(name, value, registry.group) for value in values]})


@pytest.mark.parametrize("value", ["broken_plugin:Broker", "broken_plugin.inner:Broker", "no_such:Broker", "json:No"])
def test_broker_that_cannot_be_imported_is_an_error(broken: str, value: str) -> None:
    with offer(BROKERS, "rabbit", value):
        error = found(rabbit={"host": "h"})["E003"]
    assert f"'rabbit' of {value.partition(':')[0].partition('.')[0].replace('_', '-')} cannot be imported" in error.msg
    assert "Correct the cause" in error.hint


def test_broker_class_that_cannot_be_imported_is_an_error(broken: str) -> None:
    assert "ValueError: no licence" in found(broker_class="broken_plugin.Broker")["E007"].msg


def test_broker_of_two_distributions_is_an_error() -> None:
    with offer(BROKERS, "rabbit", MEMORY_POINT, "builtins:dict"):
        error = found(rabbit={"host": "h"})["E007"]
    assert "is offered by" in error.msg
    assert "uninstall all but one" in error.hint


@pytest.mark.parametrize("value", ["broken_plugin:Reporter", "no_such:Reporter", "json:No"])
def test_reporter_that_cannot_be_imported_is_a_warning(broken: str, value: str) -> None:
    with offer(reporters.REPORTERS, "pager", value):
        assert "cannot be imported" in found(error_reporter={"pager": {}})["W005"].msg


def test_reporter_of_two_distributions_is_a_warning() -> None:
    with offer(reporters.REPORTERS, "pager", "builtins:dict", "builtins:list"):
        warning = found(error_reporter={"pager": {}})["W005"]
    assert "is offered by builtins (builtins:dict) and builtins (builtins:list)" in warning.msg
    assert "uninstall all but one" in warning.hint


def test_tracing_without_its_library_is_a_warning(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("django_q.tracing.is_installed", lambda: False)
    assert "W007" not in found()
    assert "django-q-core[tracing]" in found(tracing=True)["W007"].hint


def test_unknown_reporter_is_a_warning() -> None:
    assert "There is no error reporter 'pager'" in found(error_reporter={"pager": {}})["W005"].msg


def test_unknown_broker_is_a_warning() -> None:
    assert "Unknown key 'rabbit'" in found(rabbit={})["W001"].msg


def test_other_edition_is_an_error(monkeypatch) -> None:
    assert checks.check_editions(None) == []
    monkeypatch.setattr(checks, "is_distribution", lambda name: name == "django-q2")
    [error] = checks.check_editions(None)
    assert error.id == "django_q.E014"
    assert error.msg.startswith("django-q2 and django-q-core are installed")
    assert "pip uninstall django-q2, then pip install --force-reinstall --no-deps django-q-core" in error.hint


def test_no_secret_is_shown() -> None:
    assert "hush" not in str(found(mongo="hush")["E001"])


def test_django_runs_the_checks() -> None:
    assert {checks.check_settings, checks.check_installation, checks.check_editions} <= {
        *registry.registry.get_checks()
    }


@pytest.mark.parametrize("args", [5, "abc", [object()]])
def test_declared_schedule_that_is_invalid(settings, args) -> None:
    settings.Q_CLUSTER = {"name": "a", "schedules": [{"func": "math.sqrt", "args": args, "minutes": 1}]}
    [message] = checks.check_schedules(None)
    assert (message.id, message.is_serious()) == ("django_q.E008", True)
    assert "math.sqrt" in message.msg


def test_declared_schedules_that_are_valid_need_no_database(settings) -> None:
    settings.Q_CLUSTER = {"name": "a", "schedules": [{"func": "math.sqrt", "args": [5], "cron": "0 22 * * *"}]}
    assert checks.check_schedules(None) == []


@pytest.mark.parametrize("q_cluster", [5, {"schedules": 5}, {"schedules": [5]}])
def test_schedules_are_not_checked_with_invalid_settings(settings, q_cluster) -> None:
    settings.Q_CLUSTER = q_cluster
    assert checks.check_schedules(None) == []
