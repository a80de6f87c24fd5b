"""Clusters whose Redis refuses what is asked of it: full, without disk or replicas, a replica, busy, locked."""

from __future__ import annotations

from tests.services.redis_states import REFUSALS, admin, changed, out_of_memory

from .site import eventually

SEND = """
from django_q.exceptions import DjangoQError
from django_q.tasks import async_task
try:
    async_task({call})
    answer = "sent"
except DjangoQError as error:
    answer = type(error).__name__
"""


def send(site, call):
    """Send a task; "sent", or the name of what `async_task` raises."""
    return site.run(SEND.format(call=call))


def left_over(server):
    """Return the keys of the queue on the server, without statistics."""
    with admin(server) as client:
        return client.keys("*:q*")


def assert_calm(log, outages, *, statistics=0):
    """Check that each process logged the begin and the end of an outage once, and that none of them died."""
    assert log.count("broker unavailable") == outages, log
    assert log.count("broker available again") == outages, log
    assert log.count("saving results failed") <= outages, log
    assert log.count("could not publish") <= max(outages, statistics), log
    for word in ("crashed", "reincarnated", "Traceback", "no progress"):
        assert word not in log, log


def test_cluster_waits_for_the_end_of_each_refusal(make_site, open_redis_server):
    site = make_site("redis", redis=open_redis_server.url, retry=6, workers=3)
    states = {name: state for name, state in REFUSALS.items() if name not in ("LOADING", "MASTERDOWN")}
    with site.cluster() as cluster:
        assert send(site, "'jobs.slow', 'long', 14") == "sent"
        for number, (name, state) in enumerate(states.items(), 1):
            assert send(site, f"'jobs.slow', '{name}', 1") == "sent"
            eventually(lambda: any(f"{name} begins" in note for note in site.notes()), why=lambda: cluster.log)  # noqa: B023
            with state(open_redis_server):
                assert send(site, "'jobs.mark', 'refused'") == "BrokerUnavailable"
                eventually(lambda: cluster.log.count("broker unavailable") == number, why=lambda: cluster.log)  # noqa: B023
                eventually(lambda: f"{name} ends" in site.notes(), why=lambda: cluster.log)  # noqa: B023
                eventually(lambda: cluster.log.count("saving results failed") == number, why=lambda: cluster.log)  # noqa: B023
            eventually(lambda: cluster.log.count("broker available again") == number, why=lambda: cluster.log)  # noqa: B023
            eventually(lambda: cluster.log.count("saving results succeeded again") == number, why=lambda: cluster.log)  # noqa: B023
        eventually(lambda: "long ends" in site.notes(), within=20, why=lambda: cluster.log)
        eventually(lambda: not left_over(open_redis_server), why=lambda: cluster.log)
        assert cluster.stop() == 0
    assert_calm(cluster.log, len(states))
    begun = [note.partition(" begins")[0] for note in site.notes() if " begins" in note]
    assert sorted(begun) == sorted(["long", *states])


def test_queue_that_fills_its_server_is_drained(make_site, open_redis_server):
    site = make_site("redis", redis=open_redis_server.url, retry=2)
    site.run(
        """
        from django_q.tasks import async_chain, async_task
        async_task("jobs.slow", "long", 3)
        for number in range(30):
            async_chain([("jobs.mark", ("link",)), ("jobs.mark", ("last",))])
        for number in range(100):
            async_task("jobs.note", number, "x" * 20_000)
        """
    )
    with out_of_memory(open_redis_server), site.cluster() as cluster:
        eventually(lambda: len(site.notes()) > 160, why=lambda: cluster.log)
        assert send(site, "'jobs.mark', 'refused'") == "BrokerUnavailable"
        eventually(lambda: "long ends" in site.notes(), why=lambda: cluster.log)
        eventually(lambda: not left_over(open_redis_server), why=lambda: cluster.log)
        assert cluster.stop() == 0
    assert_calm(cluster.log, 0, statistics=1)
    assert cluster.log.count("OOM") == 1, cluster.log
    assert len(site.notes()) == 162
    assert site.notes().count("last") == 30


def scripts_run(client):
    """Return the number of scripts that the server was asked to run."""
    return sum(each["calls"] for name, each in client.info("commandstats").items() if name.startswith("cmdstat_eval"))


def test_missing_right_is_one_line_until_it_is_granted(make_site, open_redis_server):
    with admin(open_redis_server) as client:
        client.acl_setuser("mysite", enabled=True, nopass=True, keys="*", commands=["+@all", "-zadd", "-lmove"])
        site = make_site("redis", redis=open_redis_server.url.replace("//", "//mysite:any@"))
        assert send(site, "'jobs.mark', 'first'") == "sent"
        with site.cluster() as cluster:
            eventually(lambda: "broker unavailable" in cluster.log, why=lambda: cluster.log)
            [line] = [line for line in cluster.log.splitlines() if "broker unavailable" in line]
            assert "NOPERM" in line
            assert "lmove, zadd" in line
            assert send(site, "'jobs.mark', 'second'") == "sent"
            scripts = scripts_run(client)
            eventually(lambda: scripts_run(client) >= scripts + 3, why=lambda: cluster.log)  # refused again and again
            client.execute_command("ACL", "SETUSER", "mysite", "+zadd", "+lmove")
            eventually(lambda: len(site.notes()) == 2, within=15, why=lambda: cluster.log)
            assert cluster.stop() == 0
    assert_calm(cluster.log, 1)
    assert sorted(site.notes()) == ["first", "second"]


def test_one_connection_for_each_process_is_enough(make_site, open_redis_server):
    site = make_site("redis", redis=f"{open_redis_server.url}?max_connections=1&client_name=site", retry=2)
    with site.cluster() as cluster:
        site.run(
            """
            from django_q.tasks import async_task, result
            async_task("jobs.slow", "long", 3)
            for number in range(50):
                last = async_task("jobs.mark", number)
            answer = result(last, wait=10_000)
            """
        )
        eventually(lambda: "long ends" in site.notes(), why=lambda: cluster.log)
        eventually(lambda: len(site.notes()) == 52, why=lambda: cluster.log)
        eventually(lambda: not left_over(open_redis_server), why=lambda: cluster.log)
        with admin(open_redis_server) as client:
            names = [each["name"] for each in client.client_list()]
        assert names.count("site") <= len(cluster.family())
        assert cluster.stop() == 0
    assert_calm(cluster.log, 0)


def test_link_that_is_too_large_ends_its_own_chain_only(make_site, open_redis_server):
    site = make_site("redis", redis=open_redis_server.url)
    site.run(
        """
        from django_q.tasks import async_chain
        for label in ("one", "two"):
            async_chain([("jobs.mark", (label,)), ("jobs.note", (f"last of {label}",))])
        async_chain([("jobs.mark", ("three",)), ("jobs.note", ("too large", "x" * 3_000_000))])
        """
    )
    limit = {"proto-max-bulk-len": "1048576"}
    with admin(open_redis_server) as client, changed(client, **limit), site.cluster() as run:
        eventually(lambda: len(site.notes()) == 5, why=lambda: run.log)
        eventually(lambda: not left_over(open_redis_server), why=lambda: run.log)
        failed = "from django_q.models import Failure; answer = [str(each.result) for each in Failure.objects.all()]"
        [reason] = site.run(failed)
        assert "takes no package of this size" in reason
        assert run.stop() == 0
    assert sorted(site.notes()) == ["last of one", "last of two", "one", "three", "two"]
    assert "crashed" not in run.log
    assert "saving results failed" not in run.log


def test_server_that_deletes_packages_is_named_once(make_site, open_redis_server):
    site = make_site("redis", redis=open_redis_server.url)
    deleting = {"maxmemory-policy": "allkeys-lru"}
    with admin(open_redis_server) as client, changed(client, **deleting), site.cluster() as cluster:
        assert send(site, "'jobs.mark', 'done'") == "sent"
        eventually(lambda: site.notes() == ["done"], why=lambda: cluster.log)
        assert cluster.stop() == 0
    assert cluster.log.count("noeviction") == 1, cluster.log
    assert_calm(cluster.log, 0)
