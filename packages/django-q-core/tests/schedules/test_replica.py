"""With a router that sends reads to a replica, a cluster works on the database that it writes."""

from __future__ import annotations

import pytest


class Router:
    """A replica without any table that a cluster needs."""

    def db_for_read(self, model, **hints) -> str:
        pytest.fail(f"{model.__name__} was read from a replica")

    def db_for_write(self, model, **hints) -> str:
        return "default"


@pytest.mark.django_db
@pytest.mark.parametrize("has_replica", [True, False])
def test_schedules_are_read_where_they_are_written(clockwork, due, settings, has_replica):
    schedule = due()
    due_at = schedule.next_run
    clock = clockwork(has_replica=has_replica)
    settings.DATABASE_ROUTERS = [Router()]
    assert [package["func"] for package in clock.play()] == ["math.floor"]
    settings.DATABASE_ROUTERS = []
    schedule.refresh_from_db()
    assert schedule.next_run > due_at
