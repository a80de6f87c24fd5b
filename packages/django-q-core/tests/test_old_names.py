from __future__ import annotations

from importlib import import_module
from pathlib import Path

import pytest
from django_q.functions import resolve
from django_q.old_names import OLD_NAMES, table

NAMES = [(module, name, path) for module, names in OLD_NAMES.items() for name, path in names.items()]


@pytest.mark.parametrize(("module", "name", "path"), NAMES, ids=lambda value: value)
def test_old_name_resolves_to_the_new_one(module, name, path):
    parent, _, leaf = path.rpartition(".")
    found, moved = getattr(import_module(module), name), getattr(import_module(parent), leaf)
    assert found is moved or type(found) is type(moved)  # a reporter is made anew for each caller


@pytest.mark.parametrize("module", OLD_NAMES)
def test_unknown_name_is_reported(module):
    with pytest.raises(AttributeError, match=f"module '{module}' has no attribute 'nothing'"):
        import_module(module).nothing  # noqa: B018


def test_callbacks_queued_under_the_old_path_are_found():
    from django_q.workflows.batch_delivery import call_back

    assert resolve("django_q.results.batch_delivery.call_back") is call_back


def test_page_of_old_names_has_the_table():
    page = Path(__file__).parents[3] / "docs" / "reference" / "old-names.md"
    assert table() in page.read_text(), "copy the output of django_q.old_names.table() to the page"
