"""A site for each database and broker."""

from __future__ import annotations

import pytest

from .site import Site


@pytest.fixture(params=["sqlite", "postgres", "mariadb", "redis"])
def site(request, tmp_path):
    """A migrated site with two workers, on each broker and database of the first round."""
    q_cluster = {"name": "acceptance", "workers": 2, "retry": 30}
    database, apps = None, ()
    match request.param:
        case "redis":
            q_cluster["redis"] = request.getfixturevalue("redis_server").url
        case "sqlite":
            q_cluster["orm"] = "default"
            apps = ("django_q_orm",)
        case server:
            database = request.getfixturevalue(f"{server}_server").fresh_database()
            q_cluster["orm"] = "default"
            apps = ("django_q_orm",)
    site = Site(tmp_path, q_cluster, database, apps)
    site.manage("migrate", "-v0")
    return site
