"""Is there anything to do? Asked by hand, each second.

Django's query machinery is only touched when there is: what of its memory a process touches is its own from then on.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from django.db import connections

from django_q.models import Schedule
from django_q.rules import DEAD_LETTER_ENDS

if TYPE_CHECKING:
    from collections.abc import Sequence
    from datetime import datetime

    from django_q.settings import ClusterSettings


def is_soon_due(settings: ClusterSettings, using: str, now: datetime, until: datetime) -> bool:
    """Whether a schedule of this cluster that may be sent *now* is due *until* then."""
    moment = connections[using].ops.adapt_datetimefield_value
    return _is_any(
        settings,
        using,
        "{next_run} <= %s AND {repeats} <> 0 AND ({retry_at} IS NULL OR {retry_at} <= %s)",
        [moment(until), moment(now)],
    )


def is_in_code(settings: ClusterSettings, using: str) -> bool:
    """Whether a schedule of this cluster was declared by code, at any time."""
    return _is_any(settings, using, "{in_code} IN (%s)", [True])


def _is_any(settings: ClusterSettings, using: str, where: str, values: Sequence[Any]) -> bool:
    """Return whether there is such a schedule; those without a cluster belong to the default one.

    So do those whose cluster cannot exist: it marks them with the reason.
    They are counted, because not every database knows `LIMIT`.
    """
    connection = connections[using]
    names = {field.attname: connection.ops.quote_name(str(field.column)) for field in Schedule._meta.concrete_fields}
    ours, values = "{cluster} = %s", [*values, settings.list_key]
    if settings.is_default_cluster:
        ours += " OR {cluster} IS NULL OR {cluster} = '' OR {cluster} LIKE %s OR {cluster} LIKE %s"
        values = [*values, *(f"%{end}" for end in DEAD_LETTER_ENDS)]
    table = connection.ops.quote_name(Schedule._meta.db_table)
    with connection.cursor() as cursor:
        cursor.execute(
            f"SELECT COUNT(*) FROM {table} WHERE {where} AND ({ours})".format(**names),
            values,
        )
        (number,) = cursor.fetchone()
    return bool(number)
