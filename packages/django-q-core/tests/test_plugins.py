from __future__ import annotations

from importlib.metadata import EntryPoint, EntryPoints
from typing import Any
from unittest.mock import patch

import pytest
from django_q.exceptions import BrokenPlugin, ConfigurationError, MissingPlugin
from django_q.plugins import WITHOUT_ENTRY_POINT, Registry


def registry(*points: tuple[str, str]) -> Registry[Any]:
    found = EntryPoints(EntryPoint(name, value, "djangoq.brokers") for name, value in points)
    registry: Registry[Any] = Registry("djangoq.brokers", "broker")
    with patch("django_q.plugins.entry_points", return_value=found):
        registry.names()
    return registry


def test_plugin_is_found_by_name() -> None:
    assert registry(("redis", "collections:OrderedDict")).load("redis").__name__ == "OrderedDict"


def test_error_names_the_distribution_of_a_missing_plugin() -> None:
    with pytest.raises(MissingPlugin, match=r"needs django-q-sqs \(installed: redis\)\. pip install django-q-sqs"):
        registry(("redis", "collections:OrderedDict")).load("sqs")


def test_misspelt_plugin_has_a_suggestion() -> None:
    with pytest.raises(MissingPlugin, match="Did you mean 'mongo'"):
        registry().load("mngo")


def test_two_offers_of_one_name_are_an_error() -> None:
    with pytest.raises(ConfigurationError, match="uninstall all but one"):
        registry(("redis", "collections:OrderedDict"), ("redis", "builtins:dict")).load("redis")


def test_distribution_listed_twice_is_one_offer() -> None:
    assert registry(("redis", "builtins:dict"), ("redis", "builtins:dict")).load("redis") is dict


@pytest.mark.parametrize("value", ["no_such_module:Broker", "builtins:Broker"])
def test_broken_plugin_keeps_its_cause(value: str) -> None:
    with pytest.raises(MissingPlugin, match="cannot be imported") as caught:
        registry(("redis", value)).load("redis")
    assert caught.value.__cause__ is not None


def test_package_that_cannot_be_imported_is_no_crash(tmp_path, monkeypatch) -> None:
    (tmp_path / "broken_app").mkdir()
    (tmp_path / "broken_app" / "__init__.py").write_text("1 / 0")
    monkeypatch.syspath_prepend(tmp_path)
    with pytest.raises(BrokenPlugin, match=r"'redis' of broken-app cannot be imported: ZeroDivisionError") as caught:
        registry(("redis", "broken_app.broker:Broker")).load("redis")
    assert isinstance(caught.value.__cause__, ZeroDivisionError)


def test_published_reporter_without_an_entry_point_is_found(tmp_path, monkeypatch) -> None:
    """django-q declared the entry points of django-q-sentry and django-q-rollbar."""
    (tmp_path / "django_q_pager.py").write_text("class Pager: pass")
    monkeypatch.syspath_prepend(tmp_path)
    monkeypatch.setitem(WITHOUT_ENTRY_POINT["djangoq.errorreporters"], "pager", "django_q_pager:Pager")
    pagers: Registry[Any] = Registry("djangoq.errorreporters", "error reporter")
    assert pagers.load("pager").__name__ == "Pager"
    monkeypatch.setitem(WITHOUT_ENTRY_POINT["djangoq.errorreporters"], "siren", "django_q_no_such:Siren")
    assert "siren" not in Registry("djangoq.errorreporters", "error reporter").names()


def test_app_that_is_not_installed_is_an_error() -> None:
    with (
        pytest.raises(ConfigurationError, match="add 'wsgi' to INSTALLED_APPS"),
        patch("django_q.plugins.is_app", bool),
    ):
        registry(("orm", "wsgi:Broker")).load("orm")


def test_plugins_are_looked_up_once() -> None:
    brokers = registry(("redis", "builtins:dict"))
    with patch("django_q.plugins.entry_points") as entry_points:
        brokers.load("redis")
    assert not entry_points.called
