"""Fixtures and hooks for the tests of all distributions."""

from __future__ import annotations

import gc
import os
from contextlib import suppress
from pathlib import Path
from typing import TYPE_CHECKING

import pytest

if TYPE_CHECKING:
    from collections.abc import Generator

pytest_plugins = ["tests.services.fixtures"]
collect_ignore = ["tests/sample_project"]  # tests/test_sample_project.py runs it in a process of its own

# Processes that tests start import the tests' own functions and settings.
os.environ["PYTHONPATH"] = os.pathsep.join(filter(None, [str(Path(__file__).parent), os.environ.get("PYTHONPATH")]))

# No example fails because the machine is busy. A failure prints how to repeat it, so no database of examples is kept.
with suppress(ImportError):
    from hypothesis import settings as hypothesis_settings

    hypothesis_settings.register_profile("django-q", database=None, deadline=None, print_blob=True)
    hypothesis_settings.load_profile("django-q")


@pytest.hookimpl(optionalhook=True)
def pytest_xdist_auto_num_workers() -> int | None:
    """Run four more workers than processors, because tests of brokers and clusters mostly wait for leases."""
    if "PYTEST_XDIST_AUTO_NUM_WORKERS" in os.environ:
        return None
    return (os.cpu_count() or 1) + 4


def pytest_collection_modifyitems(config: pytest.Config, items: list[pytest.Item]) -> None:
    """Deal the modules out to the workers, those with clusters and servers among the others.

    Then the load is even, and no worker waits alone at the end.
    """
    workers = getattr(config, "workerinput", {}).get("workercount", 1)
    modules: dict[Path, list[pytest.Item]] = {}
    for item in items:
        modules.setdefault(item.path, []).append(item)
    packages = config.rootpath / "packages"
    slow = [path for path in modules if packages not in path.parents or path.name == "test_conformance.py"]
    quick = [path for path in modules if path not in slow]
    places = {path: place / len(paths) for paths in (slow, quick) for place, path in enumerate(paths)}
    mixed = sorted(places, key=lambda path: places[path])
    items[:] = [item for worker in range(workers) for path in mixed[worker::workers] for item in modules[path]]


@pytest.hookimpl(wrapper=True)
def pytest_collection() -> Generator[None, object, object]:
    """Disable the garbage collector while tests are collected, and exempt their objects from it afterwards.

    They live until the end. The collector needs half a second for them each time, and copies their pages in a fork.
    """
    enabled = gc.isenabled()
    gc.disable()
    try:
        return (yield)
    finally:
        gc.freeze()
        if enabled:
            gc.enable()


@pytest.fixture(scope="session")
def django_db_setup(django_db_setup: None) -> None:
    """Processes that tests start use the test database."""
    from django.db import connection

    os.environ["DJANGO_Q_TEST_DB_NAME"] = str(connection.settings_dict["NAME"])


MAX_OPEN_FILES = 300
"""Number of open files of a test process above which garbage is collected."""


def pytest_runtest_teardown() -> None:
    """Close what earlier tests left open.

    Channels between the processes of a cluster are closed when they are collected, which happens late in a process with
    many objects. `select` fails for a file above 1,023.
    """
    with suppress(FileNotFoundError):  # only Linux has the folder
        if len([*Path("/proc/self/fd").iterdir()]) > MAX_OPEN_FILES:
            gc.collect()
