"""Editions to run, and their databases brought into reach of our models."""

from __future__ import annotations

import fcntl
import os
import warnings
from contextlib import ExitStack
from typing import TYPE_CHECKING

import pytest
from django.core.management import call_command

from tests.compat.editions import DJANGO_Q, EDITIONS, NAME, SECRET_KEY, Cannot, Edition, Installed
from tests.databases import reachable, sqlite
from tests.services.fixtures import missing

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator
    from pathlib import Path


def pytest_configure(config: pytest.Config) -> None:
    config.addinivalue_line("markers", "compat: installs the public editions' wheels; -m compat or DJANGO_Q_COMPAT=1")


def pytest_collection_modifyitems(config: pytest.Config, items: list[pytest.Item]) -> None:
    if os.environ.get("DJANGO_Q_COMPAT") or "compat" in config.getoption("markexpr"):
        return
    for item in items:
        if item.get_closest_marker("compat"):
            item.add_marker(pytest.mark.skip(reason="run with -m compat or DJANGO_Q_COMPAT=1"))


@pytest.fixture(scope="session", params=EDITIONS, ids=lambda edition: edition.label)
def edition(request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory) -> Installed:
    """A public edition that can be run."""
    return install(request.param, tmp_path_factory)


@pytest.fixture(scope="session")
def django_q(tmp_path_factory: pytest.TempPathFactory) -> Installed:
    """The one that began it."""
    return install(DJANGO_Q, tmp_path_factory)


def install(edition: Edition, tmp_path_factory: pytest.TempPathFactory) -> Installed:
    """Install an edition once, however many processes run tests."""
    folder = tmp_path_factory.getbasetemp()
    if os.environ.get("PYTEST_XDIST_WORKER"):
        folder = folder.parent
    with (folder / f"{edition.label}.lock").open("w") as lock:
        fcntl.flock(lock, fcntl.LOCK_EX)
        try:
            return Installed(edition, folder / edition.label)
        except Cannot as error:
            missing(edition.label, error)


@pytest.fixture
def golden_settings(settings) -> None:
    """The secret and the name that the editions sign with."""
    settings.SECRET_KEY = SECRET_KEY
    settings.Q_CLUSTER = {"name": NAME, "orm": "default"}


@pytest.fixture
def reach(tmp_path: Path, django_db_blocker, golden_settings) -> Iterator[Callable[[Path], str]]:
    """Brings an SQLite file into reach: a function from its path to the alias of a connection."""
    with ExitStack() as stack, warnings.catch_warnings():
        stack.enter_context(django_db_blocker.unblock())
        warnings.simplefilter("ignore", RuntimeWarning)  # rows hold models pickled by an older Django
        yield lambda path: stack.enter_context(reachable(f"adopted_{path.stem}", sqlite(path)))


def migrate(alias: str, *target: str) -> None:
    """Migrate a database, as `manage.py migrate --database`."""
    call_command("migrate", *target, database=alias, verbosity=0)
