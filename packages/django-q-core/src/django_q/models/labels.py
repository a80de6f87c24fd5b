"""Finds out in which form the database holds a label."""

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
"""Character sets of a connection to MySQL and MariaDB in which a query with another character finds nothing."""

LAST_NARROW_CHARACTER: Final = "\uffff"


def stored_label(model: type[Model], label: str) -> str:
    """Return a label as the database holds it: in ASCII with escapes if its character set lacks some characters.

    Args:
        model: whose table has a column `name` for labels.
        label: of at most `LABEL_CHARACTERS` characters.
    """
    if label.isascii():
        return label
    using = router.db_for_read(model)
    if is_cut_short(label, using):
        return ascii_only(label)[:LABEL_CHARACTERS]
    try:
        # A transaction of the caller survives a refusal; one of our own would lock an SQLite file for nothing.
        with transaction.atomic(using=using) if connections[using].in_atomic_block else nullcontext():
            model._base_manager.using(using).filter(name=label).exists()
    except (DataError, OperationalError) as error:
        if isinstance(error, OperationalError) and not NOT_IN_CHARSET.intersection(error.args[:1]):
            raise
        return ascii_only(label)[:LABEL_CHARACTERS]
    return label


def is_cut_short(label: str, using: str) -> bool:
    """Return True if the connection itself lacks characters of a label: then a query does not fail."""
    connection = connections[using]
    narrow = connection.vendor == "mysql" and connection.settings_dict["OPTIONS"].get("charset") in NARROW_CHARSETS
    return narrow and max(label) > LAST_NARROW_CHARACTER
