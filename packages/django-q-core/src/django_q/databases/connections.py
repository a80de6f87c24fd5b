"""Ends, closes and drops connections to databases and caches: between tasks, and before and after a fork."""

from __future__ import annotations

import sys
from contextlib import suppress
from typing import TYPE_CHECKING, Any, Final
from weakref import WeakSet

from django.core.cache import caches
from django.db import Error, connections

if TYPE_CHECKING:
    from collections.abc import Iterator

    from django.core.cache.backends.base import BaseCache
    from django.db.backends.base.base import BaseDatabaseWrapper

_inherited: Final[list[object]] = []
"""Inherited connections after a fork. To finalise one would end the parent's session on the shared socket."""

_dropped_caches: Final[WeakSet[BaseCache]] = WeakSet()
"""Caches that Django has dropped, and that modules may still use."""

CAUSE, CONTEXT = BaseException.__dict__["__cause__"], BaseException.__dict__["__context__"]
"""Descriptors that read the cause of an exception without running its own code."""

MAX_CAUSES: Final = 10
"""Maximum number of causes of an exception that are examined."""


# between tasks


def end_sessions() -> bool:
    """End the database sessions of a task, as Django does after a request.

    `CONN_MAX_AGE` determines which connections are kept. A kept connection has no open transaction, and is checked
    before its next use if `CONN_HEALTH_CHECKS` is set. A connection returns to a PostgreSQL pool without temporary
    tables, settings and locks.

    Returns:
        True if a connection was kept.
    """
    kept = False
    for connection in _open_connections():
        if connection.errors_occurred:
            _drop(connection)
        elif connection.in_atomic_block or _is_pooled(connection):
            _end_session(connection)
        else:
            _close_if_unusable_or_obsolete(connection)
            _roll_back(connection)
        connection.queries_log.clear()
        kept = kept or connection.connection is not None
    return kept


def _end_session(connection: BaseDatabaseWrapper) -> None:
    connection.in_atomic_block = connection.closed_in_transaction = False  # otherwise `close` keeps the connection
    if connection.vendor == "postgresql" and _is_pooled(connection):
        _discard_session(connection)
    _close(connection)


def _discard_session(connection: Any) -> None:
    """Reset a connection of a PostgreSQL pool. If that fails, the connection is closed and the pool drops it."""
    session = connection.connection
    try:
        session.rollback()
        session.autocommit, session.isolation_level, session.read_only, session.deferrable = True, None, None, None
        session.execute("DISCARD ALL")
        connection._configure_connection(session)  # sets the time zone and the role, as for a new one
    except connection.Database.Error:
        session.close()


def _roll_back(connection: BaseDatabaseWrapper) -> None:
    """Roll back on a kept connection. Without a transaction, most drivers send no request for that."""
    if connection.connection is None:
        return
    try:
        connection.rollback()
    except Error:
        _close(connection)


# in a process of a cluster


def keep_connections() -> None:
    """Keep the connections of a process for its next step, and close those that no longer work.

    A `CONN_MAX_AGE` of 0 is ignored, because it ends a connection with its request and there are no requests. A longer
    one is obeyed. Each connection is checked before its next use.
    """
    for connection in _open_connections():
        if not connection.settings_dict["CONN_MAX_AGE"]:
            connection.close_at = None
        connection.health_check_enabled = True  # type: ignore[attr-defined]
        if connection.errors_occurred:
            _drop(connection)
        else:
            _close_if_unusable_or_obsolete(connection)


def close_connections() -> None:
    """Close the connections of this thread, also those of a pool, so that the next statement opens a new one.

    Connections with an open transaction stay open.
    """
    for connection in _open_connections():
        if not connection.in_atomic_block:
            _drop(connection)


def close_after(error: BaseException) -> None:
    """Close the connections of this thread if a task failed because of a database.

    Django treats a session that has become read-only as usable, so that all following tasks would fail.

    Args:
        error: exception of the task.
    """
    cause: BaseException | None = error
    for _ in range(MAX_CAUSES):
        if cause is None:
            return
        if issubclass(type(cause), Error):
            close_connections()
            return
        cause = CAUSE.__get__(cause) or CONTEXT.__get__(cause)


def _drop(connection: BaseDatabaseWrapper) -> None:
    """Close a connection, also in its pool, which would keep a session that has become read-only."""
    if connection.vendor == "postgresql" and _is_pooled(connection):
        connection.connection.close()
    connection.in_atomic_block = connection.closed_in_transaction = False
    _close(connection)


# before and after a fork


def close_all() -> None:
    """Close the connections, pools and caches of a process that forks and does not use them."""
    for connection in _open_connections():
        if not connection.in_atomic_block:
            _close(connection)
    for pools in _connection_pools():
        for alias in {*map(_alias_of, pools)}:
            connections[alias].close_pool()  # type: ignore[attr-defined]
    for cache in {*caches.all(initialized_only=True), *_dropped_caches}:
        cache.close()


def drop_all() -> None:
    """Close and drop the connections, pools and caches of a process that is about to fork.

    Connections with an open transaction are closed, too. If closing fails, all are dropped without being closed.
    """
    for connection in _open_connections():
        connection.in_atomic_block = connection.closed_in_transaction = False
    try:
        close_all()
    except Exception:  # noqa: BLE001 - the client of a cache may raise errors of its own
        forget_inherited()
    else:
        _drop_caches()


def forget_inherited() -> None:
    """Drop the connections, pools and caches that a fork inherited, without closing them for the parent."""
    for connection in connections.all(initialized_only=True):
        _forget_connection(connection)
    for pools in _connection_pools():
        _inherited.extend(pools.values())
        pools.clear()
    _inherited.extend(caches.all(initialized_only=True))
    _drop_caches()


def _drop_caches() -> None:
    _dropped_caches.update(caches.all(initialized_only=True))
    for alias in caches:
        with suppress(AttributeError):  # this cache was not used
            del caches[alias]


def forget_database(alias: str) -> None:
    """Drop the connection and the pool of one database that a fork inherited, without closing them.

    Args:
        alias: alias of the database.
    """
    for connection in connections.all(initialized_only=True):
        if connection.alias == alias:
            _forget_connection(connection)
    for pools in _connection_pools():
        _inherited.extend(pools.pop(key) for key in [*pools] if _alias_of(key) == alias)


def _forget_connection(connection: BaseDatabaseWrapper) -> None:
    if connection.vendor == "sqlite" and connection.is_in_memory_db():  # type: ignore[attr-defined]
        return  # the fork has its own copy
    _inherited.append(connection.connection)
    connection.connection = None
    connection.in_atomic_block = connection.closed_in_transaction = connection.needs_rollback = False
    connection.savepoint_ids, connection.run_on_commit = [], []


# helpers for which Django has no public function


def _open_connections() -> Iterator[BaseDatabaseWrapper]:
    for connection in connections.all(initialized_only=True):
        if connection.connection is not None:
            yield connection


def _close(connection: BaseDatabaseWrapper) -> None:
    with suppress(Error):  # the driver's connection was closed before
        connection.close()


def _close_if_unusable_or_obsolete(connection: BaseDatabaseWrapper) -> None:
    with suppress(Error):  # as above
        connection.close_if_unusable_or_obsolete()


def _is_pooled(connection: BaseDatabaseWrapper) -> bool:
    return bool(connection.settings_dict["OPTIONS"].get("pool"))


def _connection_pools() -> Iterator[dict[Any, Any]]:
    """Yield the pools of each loaded database back end; Django has no public function to drop them."""
    for module in {f"{database['ENGINE']}.base" for database in connections.settings.values()}:
        back_end = getattr(sys.modules.get(module), "DatabaseWrapper", None)
        pools: dict[Any, Any] | None = getattr(back_end, "_connection_pools", None)
        if pools is not None:
            yield pools


def _alias_of(key: str | tuple[str, str]) -> str:
    """Return the alias of a pool's database: the pool's key, or its first part if pools are per user."""
    return key if isinstance(key, str) else key[0]
