"""Which attempt at its task a package is."""

from __future__ import annotations

import asyncio
from concurrent.futures import ThreadPoolExecutor
from typing import TYPE_CHECKING, Any

from django.db import connections, router

from django_q.models import Task
from django_q.results.cache import CacheResults
from django_q.results.database import rows

if TYPE_CHECKING:
    from collections.abc import Mapping

    from django_q.settings import ClusterSettings


def attempt_of(package: Mapping[str, Any], settings: ClusterSettings, lapses: int = 0, deliveries: int = 0) -> int:
    """Count the attempts at a task that are recorded where its result goes, and this one.

    Args:
        package: of the task, which runs, or has just run.
        settings: of the cluster.
        lapses: attempts that nobody could record.
        deliveries: attempts, recorded or not, where the broker counts them.

    Raises:
        django.db.DatabaseError: the database is away.
        ResultsUnavailable: the cache is, for a cached task.
    """
    attempt = _in_cache(package, settings) if package.get("cached") else _in_database(package)
    return max(attempt + lapses, deliveries)


def _in_cache(package: Mapping[str, Any], settings: ClusterSettings) -> int:
    return max(1, CacheResults(settings).attempts(package["id"]) + ("stopped" not in package))


def _in_database(package: Mapping[str, Any]) -> int:
    try:
        asyncio.get_running_loop()
    except RuntimeError:
        return _row(package)
    with ThreadPoolExecutor(1) as thread:  # Django refuses to query where an event loop runs
        return thread.submit(_row_elsewhere, package).result()


def _row_elsewhere(package: Mapping[str, Any]) -> int:
    try:
        return _row(package)
    finally:
        connections.close_all()


def _row(package: Mapping[str, Any]) -> int:
    row = rows(router.db_for_write(Task)).filter(pk=package["id"])
    for stopped, recorded in row.values_list("stopped", "attempt_count"):
        return max(1, recorded + (stopped != package.get("stopped")))
    return 1
