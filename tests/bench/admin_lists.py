"""Measures how long the admin's lists take with a million rows.

    hatch run bench:admin

It uses the database that `DJANGO_Q_TEST_DB` chooses, in a new test database.
"""

from __future__ import annotations

import os
import sys
import time
from typing import Any, Final

ROWS: Final = 1_000_000
"""Number of rows of each table."""

CLUSTERS: Final = 10
"""Number of clusters that have been active for a day."""

REPEATS: Final = 3
"""Number of requests of each list. The quickest counts."""

LISTS: Final = ("django_q/success", "django_q/failure", "django_q/record", "django_q/schedule", "django_q_orm/ormq")

ADDRESSES: Final = (
    *(f"{model}/{query}" for model in LISTS for query in ("", "?p=20")),
    *(f"django_q/{model}/?group=group-8" for model in ("success", "failure", "record")),
    *("django_q/queue/", "django_q/cluster/"),
    *(f"django_q/queue/packages/?queue=test&state={state}&p=20" for state in ("waiting", "delayed", "leased", "dead")),
)
"""First and twentieth pages, those of a filter by group, and those of queues and clusters."""

TEXT: Final = "gAWVHAAAAAAAAACMGG5vIHN1Y2ggcGFydCA6IFRyYWNlYmFja5Qu"
"""A pickled text."""

NUMBERS: Final = {
    "sqlite": "WITH RECURSIVE numbers(n) AS (SELECT 1 UNION ALL SELECT n + 1 FROM numbers WHERE n < {rows})",
    "postgresql": "WITH numbers(n) AS (SELECT generate_series(1, {rows}))",
}
"""Rows with numbers, by vendor."""

TIMES: Final = {
    "sqlite": "strftime('%Y-%m-%d %H:%M:%S', '2025-01-01', '+' || n || ' seconds')",
    "postgresql": "timestamptz '2025-01-01' + n * interval '1 second'",
}
"""Time of a row, by vendor."""


LATER: Final = {
    "sqlite": "strftime('%Y-%m-%d %H:%M:%S', '2125-01-01', '+' || n || ' seconds')",
    "postgresql": "timestamptz '2125-01-01' + n * interval '1 second'",
}
"""Time of the end of a delay or lease, by vendor."""


def fill(rows: int) -> None:
    """Insert rows into the tables of tasks, records and queued packages."""
    from django.db import connection

    numbers, moment = NUMBERS[connection.vendor].format(rows=rows), TIMES[connection.vendor]
    key = "lpad(n::text, 32, '0')" if connection.vendor == "postgresql" else "printf('%032d', n)"
    later = LATER[connection.vendor]
    yes, no = ("true", "false") if connection.vendor == "postgresql" else ("1", "0")
    group = "'group-' || (n % 5000)"
    tables = {
        'django_q_task (id, name, func, args, kwargs, result, "group", started, stopped, success, attempt_count)': (
            f"{key}, 'name-' || n, 'shop.orders.ship', '{TEXT}', '{TEXT}', '{TEXT}', {group}, {moment}, {moment}, "
            f"CASE WHEN n % 2 = 0 THEN {yes} ELSE {no} END, 1"
        ),
        'django_q_record (id, name, func, "group", queue, backend, priority, status, enqueued_at, attempts)': (
            f"{key}, 'name-' || n, 'shop.orders.ship', {group}, 'test', '', 0, 'queued', {moment}, '[]'"
        ),
        "django_q_ormq (key, payload, lock, lease)": (
            f"CASE WHEN n % 10 = 0 THEN 'test-dead' ELSE 'test' END, 'package', "
            f"CASE WHEN n % 10 < 5 THEN {moment} ELSE {later} END, CASE WHEN n % 10 = 9 THEN 'lease-' || n END"
        ),
        "django_q_schedule (func, schedule_type, repeats, next_run)": f"'shop.orders.ship', 'H', -1, {moment}",
    }
    with connection.cursor() as cursor:
        for columns, values in tables.items():
            cursor.execute(f"INSERT INTO {columns} {numbers} SELECT {values} FROM numbers")
        fill_activity()
        cursor.execute("ANALYZE")


def fill_activity() -> None:
    """Insert the activity of several clusters in each minute of the last day."""
    from django_q.models import Activity

    present = int(time.time()) // 60
    numbers = {"successes": 1_000, "failures": 7, "waits": 1_000, "wait_seconds": 123.4}
    Activity.objects.bulk_create(
        [
            Activity(minute=present - age, cluster_id=f"{cluster:032}", **numbers)
            for cluster in range(CLUSTERS)
            for age in range(24 * 60)
        ],
        batch_size=1_000,
    )


def seconds_of(client: Any, address: str) -> float:
    """Return the duration of the quickest of some requests."""
    durations = []
    for _ in range(REPEATS):
        began = time.perf_counter()
        status = client.get(address).status_code
        durations.append(time.perf_counter() - began)
        assert status == 200, (address, status)
    return min(durations)


def main(rows: int = ROWS) -> None:
    """Fill the tables, and print the duration of each list."""
    os.environ.setdefault("DJANGO_SETTINGS_MODULE", "tests.settings")
    import django
    from django.test.utils import get_runner, override_settings, setup_test_environment

    django.setup()
    from django.conf import settings
    from django.contrib.auth.models import User
    from django.test import Client

    setup_test_environment()
    runner = get_runner(settings)(interactive=False, verbosity=0)
    databases = runner.setup_databases()
    try:
        fill(rows)
        client = Client()
        client.force_login(User.objects.create_superuser("root"))
        with override_settings(Q_CLUSTER={"name": "test", "orm": "default"}):
            for address in ADDRESSES:
                print(f"{address:60} {seconds_of(client, f'/admin/{address}') * 1000:8.0f} ms")
    finally:
        runner.teardown_databases(databases)


if __name__ == "__main__":
    main(int(sys.argv[1]) if len(sys.argv) > 1 else ROWS)
