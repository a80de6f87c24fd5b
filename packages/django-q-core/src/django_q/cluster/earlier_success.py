"""Looks up the earlier success of a redelivered task."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from django.db import router
from django.utils import timezone

from django_q.databases.writable import require_writable
from django_q.exceptions import UnreadablePackage
from django_q.models import Batch, Task
from django_q.results.cache import CacheResults
from django_q.results.waiting import MISSING
from django_q.wire.package import is_member
from django_q.workflows.batch_rows import has_succeeded

if TYPE_CHECKING:
    from collections.abc import Mapping

    from django_q.settings import ClusterSettings


def saved_success(package: Mapping[str, Any], settings: ClusterSettings) -> dict[str, Any] | None:
    """Return the finished package of a success that an earlier attempt has saved; None if there is none.

    A success that is not saved (`save=False`, a negative `save_limit`) is not found, and its task is executed again.

    Args:
        package: verified and unpickled package.
        settings: settings of the cluster.

    Raises:
        django.db.DatabaseError: the database is unavailable, or accepts no writes.
        ResultsUnavailable: the cache is unavailable, for a cached task.
    """
    if is_member(package.get("iter_count"), package.get("group")):
        using = router.db_for_write(Batch)
        require_writable(Batch, using)
        succeeded = has_succeeded(package["group"], package["id"], using)
        return dict(package, result=None, success=True, stopped=timezone.now()) if succeeded else None
    if package.get("cached"):
        try:
            found = CacheResults(settings).look_up(package["id"])
        except UnreadablePackage:
            return None
        return None if found is MISSING or not found.get("success") else dict(found)
    using = router.db_for_write(Task)
    require_writable(Task, using)  # a former primary lacks what was saved since the failover
    rows = Task._base_manager.using(using).filter(pk=package["id"], success=True)
    for row in rows.order_by().only("result", "stopped", "attempt_count"):
        return dict(
            package, result=row.result, success=True, stopped=row.stopped, attempt_count=max(row.attempt_count, 1)
        )
    return None
