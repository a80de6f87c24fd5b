"""Outcomes that are too long for one statement → failures that are not.

MySQL and MariaDB close the connection on a statement longer than `max_allowed_packet` (16 MB by default): that looks
as if they were away, and waiting would never help.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Final

from django_q.results.labels import refused

if TYPE_CHECKING:
    from django.db.backends.base.base import BaseDatabaseWrapper

    from django_q.outcome import Outcome

SHORT: Final = 500_000
"""Letters that every server takes: only longer outcomes are worth asking it."""

OVERHEAD: Final = 10_000
"""Letters of a statement beside the values that may be long."""


def fit_statement(outcome: Outcome, connection: BaseDatabaseWrapper) -> Outcome:
    """Give an outcome that one statement can carry: this one, or a failure that says that it cannot."""
    size = sum(len(text) for text in (outcome.args, outcome.kwargs, outcome.result) if text)
    if size <= SHORT or (limit := longest_statement(connection)) is None or size + OVERHEAD <= limit:
        return outcome
    why = (
        f"its arguments and result are {size:,} bytes long and the server's max_allowed_packet is {limit:,}: return a "
        "reference instead of the data, or raise max_allowed_packet"
    )
    return refused(outcome, why)._replace(args=None, kwargs=None)


def byte_size(text: str) -> int:
    """Return the number of bytes of a text in UTF-8."""
    return len(text) if text.isascii() else len(text.encode(errors="surrogatepass"))


def longest_statement(connection: BaseDatabaseWrapper) -> int | None:
    """Ask the server how many bytes one statement may have; None means more than anybody sends."""
    if connection.vendor != "mysql":
        return None
    with connection.cursor() as cursor:
        cursor.execute("SELECT @@max_allowed_packet")
        return int(cursor.fetchone()[0])
