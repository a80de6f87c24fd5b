"""A site for each database and broker."""

from __future__ import annotations

import shutil

import pytest

from .site import Site

Q_CLUSTER = {"name": "acceptance", "workers": 2, "retry": 30}


@pytest.fixture(scope="session")
def migrated(request, tmp_path_factory):
    """Migrated databases: made once, since most of the time of a test would go into them."""
    made = {}

    def database(kind):
        if kind not in made:
            folder = tmp_path_factory.mktemp(kind)
            server = None if kind == "sqlite" else request.getfixturevalue(f"{kind}_server").fresh_database()
            site = Site(folder, Q_CLUSTER | {"orm": "default"}, server, ("django_q_orm",))
            site.manage("migrate", "-v0")
            made[kind] = folder / "db.sqlite3" if server is None else server
        return made[kind]

    return database


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
            shutil.copy(migrated("sqlite"), tmp_path / "db.sqlite3")
        else:
            database = migrated(kind)
        site = Site(tmp_path, q_cluster | more, database, ("django_q_orm",))
        made.append(site)
        if database:
            site.manage("flush", "--no-input", "-v0")
        return site

    yield make
    for each in made:
        each.close()


@pytest.fixture(params=["sqlite", "postgres", "mariadb", "redis"])
def site(request, make_site):
    """A migrated site with two workers, on each broker and database of the first round."""
    return make_site(request.param)
