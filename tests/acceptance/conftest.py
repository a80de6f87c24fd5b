"""A site for each database and broker."""

from __future__ import annotations

import shutil

import pytest

from .migrated import MigratedDatabases
from .site import Site

Q_CLUSTER = {"name": "acceptance", "workers": 2, "retry": 30}


@pytest.fixture(scope="session")
def migrated(request, tmp_path_factory):
    """Migrated databases of all sites."""
    return MigratedDatabases(request, tmp_path_factory)


@pytest.fixture
def make_site(request, tmp_path, migrated):
    """Make a site of a kind: `sqlite`, `postgres`, `mariadb` (database broker), or `redis` (results in SQLite)."""
    made = []

    def make(kind, **more):
        q_cluster, database = dict(Q_CLUSTER), None
        if kind == "redis":
            q_cluster["redis"] = request.getfixturevalue("redis_url")
        else:
            q_cluster["orm"] = "default"
        if kind in ("redis", "sqlite"):
            shutil.copy(migrated.sqlite(), tmp_path / "db.sqlite3")
        else:
            database = migrated.server(kind)
        site = Site(tmp_path, q_cluster | more, database, ("django_q_orm",))
        made.append(site)
        if database:
            site.flush()
        return site

    yield make
    for each in made:
        each.close()


@pytest.fixture(params=["sqlite", "postgres", "mariadb", "redis"])
def site(request, make_site):
    """A migrated site with two workers, on each broker and database of the first round."""
    return make_site(request.param)
