"""Checks before the start of a cluster: the servers answer, and the database has the tables."""

from __future__ import annotations

import time
from typing import TYPE_CHECKING, Final

from django.apps import apps
from django.db import Error, connections, router

from django_q.brokers import broker_class
from django_q.databases.connections import close_connections
from django_q.exceptions import BrokerUnavailable, ClusterNotStarted
from django_q.log import messages as log
from django_q.pacing import Backoff
from django_q.text import error_line

if TYPE_CHECKING:
    from collections.abc import Callable

    from django.db.backends.base.base import BaseDatabaseWrapper
    from django.db.models import Model

    from django_q.brokers import Broker
    from django_q.settings import ClusterSettings

CORE_APP: Final = "django_q"
"""Label of the app whose tables each cluster needs."""


def wait_for_servers(
    settings: ClusterSettings,
    broker: Broker,
    *,
    fail_fast: bool = False,
    sleep: Callable[[float], None] = time.sleep,
) -> None:
    """Wait until the database and the broker answer, with growing pauses and one line in the log.

    Args:
        settings: settings of the cluster.
        broker: broker of all its queues.
        fail_fast: True to raise an exception instead of waiting.
        sleep: waits for a time in seconds.

    Raises:
        ClusterNotStarted: a server is unavailable and `fail_fast` is True, or the database is not migrated.
    """
    backoff = Backoff()
    while reason := unavailable(settings, broker):
        if fail_fast:
            raise ClusterNotStarted(reason)
        if backoff.failed():
            log.cluster.waiting(settings.list_key, reason)
        sleep(backoff.seconds)


def unavailable(settings: ClusterSettings, broker: Broker) -> str:
    """Return the reason, as a sentence with a remedy, why a cluster cannot start now; an empty text if it can.

    Args:
        settings: settings of the cluster.
        broker: broker of all its queues.

    Raises:
        ClusterNotStarted: the database is not migrated.
    """
    for alias, models in tables(settings, broker).items():
        if reason := database_unavailable(alias, models):
            return reason
    return broker_unavailable(broker)


def tables(settings: ClusterSettings, broker: Broker) -> dict[str, list[type[Model]]]:
    """Return the models that a cluster reads or writes, by the alias of their database."""
    found: dict[str, list[type[Model]]] = {}
    labels = {CORE_APP}
    config = apps.get_containing_app_config(broker_class(settings).__module__)
    if config is not None:
        labels.add(config.label)
    for model in apps.get_models():
        meta = model._meta
        if meta.app_label in labels and meta.managed and not meta.proxy:
            alias = None if meta.app_label == CORE_APP else broker.alias
            found.setdefault(alias or router.db_for_write(model), []).append(model)
    return found


def database_unavailable(alias: str, models: list[type[Model]]) -> str:
    """Return the reason why a database cannot be used now; an empty text if it can.

    Args:
        alias: alias of the database.
        models: models whose tables it must have.

    Raises:
        ClusterNotStarted: it lacks a table, or a column of one.
    """
    try:
        connection = connections[alias]
        for model in models:
            if lacks_table(connection, model):
                raise ClusterNotStarted(
                    f"The database {alias!r} lacks the table {model._meta.db_table}, or columns of it: "
                    "run manage.py migrate."
                )
    except Error as error:
        close_connections()
        return (
            f"The database {alias!r} cannot be reached ({error_line(error)}). Check that its server runs, and the "
            "setting DATABASES."
        )
    return ""


def lacks_table(connection: BaseDatabaseWrapper, model: type[Model]) -> bool:
    """Return True if the database lacks the table of a model, or one of its columns.

    Raises:
        Error: the table cannot be read for another reason.
    """
    quote, meta = connection.ops.quote_name, model._meta
    table = quote(meta.db_table)
    # With the table's name, as SQLite reads other quoted names that it does not know as texts.
    names = ", ".join(f"{table}.{quote(column)}" for column in columns_of(model))
    try:
        with connection.cursor() as cursor:
            cursor.execute(f"SELECT {names} FROM {table} WHERE 1 = 0")
    except Error:
        connection.close()
        if is_missing(connection, model):
            return True
        raise
    return False


def is_missing(connection: BaseDatabaseWrapper, model: type[Model]) -> bool:
    """Return True if the catalogue of the database does not have a table with all columns of a model."""
    database, meta = connection.introspection, model._meta
    with connection.cursor() as cursor:
        if database.identifier_converter(meta.db_table) not in database.table_names(cursor):
            return True
        columns = {column.name for column in database.get_table_description(cursor, meta.db_table)}
    return not columns.issuperset(map(database.identifier_converter, columns_of(model)))


def columns_of(model: type[Model]) -> list[str]:
    """Return the names of the columns of a model."""
    return [field.column for field in model._meta.concrete_fields if field.column is not None]


def broker_unavailable(broker: Broker) -> str:
    """Return the reason why a broker cannot be used now; an empty text if it can."""
    if broker.ping():
        return ""
    try:
        broker.queue_size()
    except BrokerUnavailable as error:
        cause = error_line(error)
    else:
        cause = "it does not answer"
    return (
        f"The broker cannot be reached ({type(broker).__name__}, queue {broker.list_key!r}): {cause}. Check that its "
        "server runs, and the address in Q_CLUSTER."
    )
