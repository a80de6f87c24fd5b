"""Connections that are cut, and servers that stall."""

from __future__ import annotations

import pytest
import redis

from .site import eventually


def finished(site, task_id: str) -> bool:
    return site.run(f"from django_q.tasks import fetch; answer = fetch({task_id!r}) is not None")


def sent(site, label: str) -> str:
    return site.run(f"from django_q.tasks import async_task; answer = async_task('jobs.mark', {label!r})")


def test_redis_that_stalls_is_given_up_and_found_again(make_site, redis_server):
    site = make_site("redis")
    with site.cluster() as cluster:
        before = sent(site, "before")
        eventually(lambda: finished(site, before), why=lambda: cluster.log)
        redis_server.pause()
        try:
            eventually(lambda: "broker unavailable" in cluster.log, within=30, why=lambda: cluster.log)
        finally:
            redis_server.resume()
        after = sent(site, "after")
        eventually(lambda: finished(site, after), within=30, why=lambda: cluster.log)
        assert sorted(site.notes()) == ["after", "before"]


def cut(site, kind: str) -> None:
    if kind == "redis":
        url = site.run("from django.conf import settings; answer = settings.Q_CLUSTER['redis']")
        redis.Redis.from_url(url).execute_command("CLIENT", "KILL", "TYPE", "normal", "SKIPME", "yes")
        return
    site.run(
        """
        from django.db import connection
        with connection.cursor() as cursor:
            cursor.execute("select pg_terminate_backend(pid) from pg_stat_activity where pid <> pg_backend_pid()"
                           " and datname = current_database()")
        """
    )


@pytest.mark.parametrize("kind", ["redis", "postgres"])
def test_cut_connections_lose_nothing(make_site, kind):
    site = make_site(kind)
    with site.cluster() as cluster:
        for number in range(5):
            task_id = sent(site, f"{number}")
            cut(site, kind)
            eventually(lambda: finished(site, task_id), within=40, why=lambda: cluster.log)  # noqa: B023
        assert set(site.notes()) == {str(number) for number in range(5)}
        assert cluster.stop() == 0
