"""A cluster behind PgBouncer in transaction mode, where each statement may have another session."""

from __future__ import annotations

import pytest

from tests.services import PgBouncer
from tests.services.fixtures import missing
from tests.services.server import Unavailable

from .site import Site, eventually


@pytest.fixture
def pooled(tmp_path, postgres_server, migrated):
    """A site whose only way to its database is the pooler."""
    server = PgBouncer(postgres_server)
    try:
        server.start()
    except Unavailable as error:
        missing(server.product, error)
    q_cluster = {"name": "acceptance", "workers": 3, "retry": 30, "orm": "default"}
    site = Site(tmp_path, q_cluster, server.database(migrated.server("postgres")), ("django_q_orm",))
    site.manage("flush", "--no-input", "-v0")
    yield site
    site.close()
    server.close()


def test_tasks_iters_and_schedules_run_once(pooled):
    with pooled.cluster() as cluster:
        pooled.run(
            """
            from django_q.tasks import async_iter, async_task, schedule
            for number in range(100):
                async_task("jobs.mark", f"task-{number}", group="all")
            async_iter("math.floor", [n + 0.5 for n in range(20)], cached=False, group="iters")
            schedule("jobs.mark", "scheduled")
            """
        )
        wanted = sorted(["scheduled", *(f"task-{number}" for number in range(100))])
        eventually(lambda: len(pooled.notes()) >= len(wanted), within=20, why=lambda: cluster.log)
        count = "from django_q.models import Success; answer = Success.objects.count()"
        eventually(lambda: pooled.run(count) == 102, within=20, why=lambda: cluster.log)
        assert sorted(pooled.notes()) == wanted
        for trouble in ("crashed", "reincarnated", "retrying", "CRITICAL", "Failed"):
            assert trouble not in cluster.log
        assert cluster.stop() == 0
