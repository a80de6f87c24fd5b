"""Finds failures by the text of their error, in columns of pickles that no SQL statement can read."""

from __future__ import annotations

from base64 import b64encode
from typing import TYPE_CHECKING, Final

from django.db.models import Q, TextField
from django.db.models.functions import Cast

if TYPE_CHECKING:
    from django.db.models import QuerySet

    from django_q.models import Task

MIN_NEEDLE_BYTES: Final = 4
"""Minimum length of a searched text in bytes. Its encoding would be found by chance if it were shorter."""


def encodings(text: str) -> list[str]:
    """Return the parts of Base64 that a text has, one for each of its possible positions in a group of 3 bytes.

    The first and last characters of the encoding, which depend on the bytes beside the text, are left out.
    """
    data, found = text.encode("utf-8", "surrogatepass"), []
    for offset in range(3):
        whole = b64encode(bytes(offset) + data).decode()
        first = -(-offset * 8 // 6)
        last = (offset + len(data)) * 8 // 6
        found.append(whole[first:last])
    return found


def matching_error(failures: QuerySet[Task], text: str, others: QuerySet[Task]) -> QuerySet[Task]:
    """Return failures whose error contains a text in this spelling, and others.

    Args:
        failures: all rows.
        text: the text; a very short one is not searched for.
        others: rows that were found in another way.
    """
    text = text.strip()
    if others is failures or len(text.encode("utf-8", "surrogatepass")) < MIN_NEEDLE_BYTES:
        return others
    condition = Q(pk__in=others.order_by().values("pk"))
    for part in encodings(text):
        condition |= Q(error_text__contains=part)
    return failures.alias(error_text=Cast("result", TextField())).filter(condition)
