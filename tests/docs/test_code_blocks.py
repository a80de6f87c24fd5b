"""The Python blocks of each page run as printed, in their order, and their tasks succeed."""

from __future__ import annotations

import importlib.machinery
import importlib.util
import sys
from types import ModuleType

import pytest
from django.contrib import admin
from django_q.settings import ClusterSettings
from django_q.testing import immediate

from tests.docs.pages import REPOSITORY, blocks_of, pages

OWN_TESTS = {
    **{
        f"docs/how-to/from-{name}.md": "tests/docs/test_coming_from.py" for name in ("celery", "dramatiq", "huey", "rq")
    },
    "docs/how-to/recipes.md": "tests/docs/test_recipes.py",
    "docs/how-to/test-your-code.md": "tests/docs/test_test_your_code.py",
    "docs/how-to/trace.md": "tests/acceptance/test_tracing.py",
    "docs/how-to/write-a-broker.md": "tests/docs/test_write_a_broker.py",
    "docs/how-to/write-an-error-reporter.md": "tests/docs/test_write_an_error_reporter.py",
    "docs/tutorial/a-small-site.md": "tests/docs/test_a_small_site.py",
    "docs/tutorial/first-task.md": "tests/docs/test_first_task.py",
}
"""Pages whose code is a project or a test suite, and the tests that run it."""

EXAMPLES = ("books", "imports", "mysite", "probe", "reports")
"""Packages of an imagined project. Each of their functions accepts all arguments and returns 42."""

PAGES = [
    name
    for page in pages()
    if (name := str(page.relative_to(REPOSITORY))) not in OWN_TESTS and blocks_of(page, "python")
]


class Example(ModuleType):
    """A module of the imagined project."""

    __path__: list[str] = []

    def __getattr__(self, name: str):
        if name.startswith("__"):
            raise AttributeError(name)
        return lambda *args, **kwargs: 42


class Examples:
    """Finds the modules of the imagined project."""

    def find_spec(self, name, path=None, target=None):
        if name.partition(".")[0] in EXAMPLES and name.count(".") < 2:
            return importlib.machinery.ModuleSpec(name, self, is_package=True)
        return None

    def create_module(self, spec):
        return Example(spec.name)

    def exec_module(self, module): ...


@pytest.fixture
def project(tmp_path, monkeypatch):
    """Folder of a project that can be imported."""
    monkeypatch.setattr(sys, "meta_path", [*sys.meta_path, Examples()])
    monkeypatch.syspath_prepend(tmp_path)
    before, registered = set(sys.modules), dict(admin.site._registry)
    yield tmp_path
    admin.site._registry.clear()
    admin.site._registry.update(registered)
    for name in set(sys.modules) - before:
        del sys.modules[name]


@pytest.mark.parametrize("name", PAGES)
@pytest.mark.django_db(transaction=True)
def test_code_of_the_page_runs(name, project, settings, monkeypatch):
    if importlib.util.find_spec("django.tasks") is None:  # Django 5.2, with the package that has the same API
        monkeypatch.setitem(sys.modules, "django.tasks", importlib.import_module("django_tasks"))
    settings.TASKS = {"default": {"BACKEND": "django_q.backend.DjangoQBackend"}}
    names: dict[str, object] = {"__name__": "example"}
    with immediate():
        for block in blocks_of(REPOSITORY / name, "python"):
            if block.file and block.file != "settings.py":
                file = project / block.file
                file.parent.mkdir(exist_ok=True)
                file.write_text(block.code)
            else:
                exec(compile(block.code, name, "exec"), names)
                if "Q_CLUSTER" in names:
                    ClusterSettings.from_mapping(names["Q_CLUSTER"])
                settings.TASKS = names.get("TASKS", settings.TASKS)


def test_pages_with_tests_of_their_own_exist():
    for page, test in OWN_TESTS.items():
        assert (REPOSITORY / page).exists()
        assert (REPOSITORY / test).exists()
        assert blocks_of(REPOSITORY / page, "python")
