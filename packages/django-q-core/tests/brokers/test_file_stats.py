from __future__ import annotations

import os
import subprocess
import sys
import time
from typing import TYPE_CHECKING

import pytest
from django.core.cache.backends.db import DatabaseCache
from django.core.management import call_command
from django.db import connection
from django_q.brokers.base import Broker
from django_q.brokers.file_stats import FileStats
from django_q.brokers.stats import CacheStats, stats_in
from django_q.databases.sqlite import folder_beside
from django_q.exceptions import BrokerError

if TYPE_CHECKING:
    from pathlib import Path

KEY = "django_q:test:cluster"

WRITER = """
import sys
from pathlib import Path
from django_q.brokers.file_stats import FileStats
while True:
    FileStats(Path(sys.argv[1])).set(sys.argv[2], sys.argv[3], 60)
"""


@pytest.fixture
def stats(tmp_path: Path) -> FileStats:
    return FileStats(tmp_path / "db.sqlite3-clusters")


@pytest.fixture
def clock(monkeypatch: pytest.MonkeyPatch) -> list[float]:
    now = [time.time()]
    monkeypatch.setattr("django_q.brokers.file_stats.time.time", lambda: now[0])
    return now


def test_clusters_have_separate_statistics(stats: FileStats):
    stats.set(f"{KEY}:a", "one", 3)
    stats.set(f"{KEY}:b", "two", 3)
    stats.set("django_q:other:cluster:c", "three", 3)
    assert sorted(stats.all(f"{KEY}:*")) == ["one", "two"]
    assert (stats.get(f"{KEY}:a"), stats.get(f"{KEY}:c")) == ("one", None)


def test_newer_replaces_older(stats: FileStats):
    stats.set(f"{KEY}:a", "older", 3)
    stats.set(f"{KEY}:a", "newer", 3)
    assert stats.all(f"{KEY}:*") == ["newer"]


def test_missing_folder_has_no_statistics(stats: FileStats):
    assert (stats.get(f"{KEY}:a"), stats.all(f"{KEY}:*")) == (None, [])
    assert not stats.folder.exists()


def test_statistics_of_a_killed_cluster_expire(stats: FileStats, clock: list[float]):
    stats.set(f"{KEY}:killed", "value", 5)
    clock[0] += 5
    assert (stats.get(f"{KEY}:killed"), stats.all(f"{KEY}:*")) == (None, [])


def test_next_cluster_deletes_files_of_killed_ones(stats: FileStats, clock: list[float]):
    stats.set(f"{KEY}:killed", "value", 5)
    stats.set(f"{KEY}:lives", "value", 90)
    (stats.folder / "while-it-wrote.123").write_text("")
    clock[0] += 61
    stats.set(f"{KEY}:new", "value", 5)
    assert len(stats.all(f"{KEY}:*")) == len(list(stats.folder.glob("[!.]*"))) == 2


def test_empty_file_is_ignored(stats: FileStats):
    stats.set(f"{KEY}:a", "value", 3)
    next(stats.folder.glob("*.json")).write_text("")
    assert (stats.get(f"{KEY}:a"), stats.all(f"{KEY}:*")) == (None, [])


def test_reader_never_reads_an_incomplete_file(stats: FileStats):
    value = "x" * 100_000
    stats.set(f"{KEY}:a", value, 60)
    process = subprocess.Popen([sys.executable, "-c", WRITER, str(stats.folder), f"{KEY}:a", value])
    try:
        first = next(stats.folder.glob("*.json")).stat().st_ino
        while next(stats.folder.glob("*.json")).stat().st_ino == first:
            assert process.poll() is None
        assert {stats.get(f"{KEY}:a") for _ in range(200)} == {value}
    finally:
        process.kill()
        process.wait()


def test_version_control_ignores_the_folder(stats: FileStats):
    stats.set(f"{KEY}:a", "value", 3)
    assert (stats.folder / ".gitignore").read_text() == "*\n"


def test_folder_has_the_permissions_of_the_database_folder(stats: FileStats):
    stats.folder.parent.chmod(0o770)
    before = os.umask(0o077)
    try:
        stats.set(f"{KEY}:a", "value", 3)
    finally:
        os.umask(before)
    assert stats.folder.stat().st_mode & 0o777 == 0o770


def test_folder_that_cannot_be_written_is_an_error_of_the_broker(tmp_path: Path):
    (tmp_path / "file").touch()
    stats = FileStats(tmp_path / "file" / "folder")
    with pytest.raises(BrokerError, match="let the cluster write there"):
        stats.set(f"{KEY}:a", "value", 3)


@pytest.mark.django_db
@pytest.mark.skipif("connection.vendor != 'sqlite'")
def test_folder_is_beside_the_database():
    assert str(folder_beside(connection)) == f"{connection.settings_dict['NAME']}-clusters"


@pytest.mark.django_db
@pytest.mark.skipif("connection.vendor != 'sqlite'")
def test_cache_in_an_sqlite_file_is_not_written_for_statistics(monkeypatch: pytest.MonkeyPatch):
    call_command("createcachetable", "test_cache_table", verbosity=0)
    cache = DatabaseCache("test_cache_table", {})
    monkeypatch.setattr(Broker, "cache", cache)
    broker = Broker("test")
    broker.set_stat(f"{KEY}:a", "value", 60)
    assert broker.get_stat(f"{KEY}:a") == "value"
    assert "value" in broker.get_stats(f"{KEY}:*")
    with connection.cursor() as cursor:
        cursor.execute("SELECT count(*) FROM test_cache_table")
        assert cursor.fetchone() == (0,)


def test_other_caches_keep_statistics_themselves():
    assert isinstance(stats_in(None, KEY), CacheStats)
