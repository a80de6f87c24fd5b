"""A cluster beside a site that uses the same SQLite file."""

from __future__ import annotations

import sqlite3
from contextlib import closing

from .site import eventually

STAT = """
from django_q.status import Stat
answer = [[stat.cluster_id, stat.status, str(stat.timestamp)] for stat in Stat.get_all()]
"""

IMPATIENT = 'DATABASES["default"]["OPTIONS"] = {"timeout": 0.1}\n'
"""Statements that wait for a lock fail, and are logged."""


def test_idle_cluster_neither_writes_nor_locks_the_file(make_site):
    site = make_site("sqlite")
    with (site.folder / "site_settings.py").open("a") as settings:
        settings.write(IMPATIENT)
    with site.cluster() as cluster, closing(sqlite3.connect(site.folder / "db.sqlite3")) as other:
        eventually(lambda: [status for _id, status, _ in site.run(STAT)] == ["Idle"])
        logged = cluster.log
        other.execute("BEGIN IMMEDIATE")
        before = other.execute("PRAGMA data_version").fetchone(), site.run(STAT)
        eventually(lambda: site.run(STAT)[0][2] > before[1][0][2])
        other.rollback()
        assert cluster.log == logged
        assert other.execute("PRAGMA data_version").fetchone() == before[0]


def test_clusters_are_seen_elsewhere_and_vanish_when_killed(make_site):
    site = make_site("sqlite")
    with site.cluster(), site.cluster() as other:
        eventually(lambda: len(site.run(STAT)) == 2)
        other.kill()
        eventually(lambda: len(site.run(STAT)) == 1)
