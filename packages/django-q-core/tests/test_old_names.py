from __future__ import annotations

import sys
from importlib import import_module
from importlib.util import find_spec
from pathlib import Path

import pytest
from django.apps import apps
from django_q.functions import resolve
from django_q.old_names import OLD_NAMES, distribution_of, table

NAMES = [(module, name, path) for module, names in OLD_NAMES.items() for name, path in names.items()]
OF_PLUGINS = [each for each in NAMES if each[2].startswith("django_q_")]


def old_name(module, name):
    return getattr(import_module(module), name)


@pytest.mark.parametrize(("module", "name", "path"), NAMES, ids=lambda value: value)
def test_old_name_resolves_to_the_new_one(module, name, path):
    parent, dot, leaf = path.rpartition(".")
    if dot and find_spec(path.partition(".")[0]) is None:
        pytest.skip(f"{distribution_of(path)} is not installed")
    found = old_name(module, name)
    moved = getattr(import_module(parent), leaf) if dot else find_spec(path) and import_module(path)
    assert found is moved or type(found) is type(moved)  # a reporter is made anew for each caller


@pytest.mark.parametrize("module", OLD_NAMES)
def test_unknown_name_is_reported(module):
    with pytest.raises(AttributeError, match=f"module '{module}' has no attribute 'nothing'"):
        import_module(module).nothing  # noqa: B018


@pytest.mark.parametrize(("module", "name", "path"), OF_PLUGINS, ids=lambda value: value)
def test_missing_plugin_has_a_hint(module, name, path, monkeypatch):
    monkeypatch.setitem(sys.modules, path.rpartition(".")[0], None)
    with pytest.raises(ImportError, match=f"pip install {distribution_of(path)}"):
        old_name(module, name)


@pytest.mark.parametrize(("module", "name"), [("django_q.models", "OrmQ"), ("django_q.brokers.orm", "ORM")])
def test_missing_app_has_a_hint(module, name, monkeypatch):
    pytest.importorskip("django_q_orm")
    monkeypatch.setattr(apps, "is_installed", lambda name: False)
    with pytest.raises(ImportError, match="and add 'django_q_orm' to INSTALLED_APPS"):
        old_name(module, name)


def test_callbacks_queued_under_the_old_path_are_found():
    from django_q.workflows.batch_delivery import call_back

    assert resolve("django_q.results.batch_delivery.call_back") is call_back


def test_page_of_old_names_has_the_table():
    page = Path(__file__).parents[3] / "docs" / "reference" / "old-names.md"
    assert table() in page.read_text(), "copy the output of django_q.old_names.table() to the page"
