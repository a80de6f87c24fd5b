"""Determines the form in which the database stores a label."""

from __future__ import annotations

from contextlib import nullcontext
from typing import TYPE_CHECKING, Final

from django.db import DataError, OperationalError, connections, router, transaction

from django_q.databases.errors import NOT_IN_CHARSET
from django_q.text import ascii_only
from django_q.wire.option_values import LABEL_CHARACTERS

if TYPE_CHECKING:
    from django.db.models import Model

NARROW_CHARSETS: Final = {"utf8", "utf8mb3"}
"""Character sets of connections to MySQL and MariaDB: a query with a character outside of the set finds no row."""

LAST_NARROW_CHARACTER: Final = "\uffff"
"""Last character of `NARROW_CHARSETS`."""


def stored_label(model: type[Model], label: str) -> str:
    """Return a label as the database stores it: ASCII with escapes if the character set lacks some of its characters.

    Args:
        model: model whose table has a column `name` for labels.
        label: label of at most `LABEL_CHARACTERS` characters.
    """
    if label.isascii():
        return label
    using = router.db_for_read(model)
    if is_cut_short(label, using):
        return ascii_only(label)[:LABEL_CHARACTERS]
    try:
        # A savepoint lets a transaction of the caller survive an error; a new transaction would lock an SQLite file.
        with transaction.atomic(using=using) if connections[using].in_atomic_block else nullcontext():
            model._base_manager.using(using).filter(name=label).exists()
    except (DataError, OperationalError) as error:
        if isinstance(error, OperationalError) and not NOT_IN_CHARSET.intersection(error.args[:1]):
            raise
        return ascii_only(label)[:LABEL_CHARACTERS]
    return label


def is_cut_short(label: str, using: str) -> bool:
    """Return True if the connection's character set lacks characters of a label. A query with it does not fail."""
    connection = connections[using]
    narrow = connection.vendor == "mysql" and connection.settings_dict["OPTIONS"].get("charset") in NARROW_CHARSETS
    return narrow and max(label) > LAST_NARROW_CHARACTER
