"""Clusters on each broker: tasks sent, run, failed and retried, timed out; the broker restarted; stopped."""

from __future__ import annotations

import shutil
import time

import pytest

from .products import PRODUCTS, settings_of
from .saved import ROW, SavedTask, assert_failed, assert_succeeded
from .site import Site, eventually

RETRY = 2


@pytest.fixture(params=PRODUCTS)
def product(request):
    """Settings of `Q_CLUSTER` for a broker, and its server."""
    return settings_of(request, request.param)


@pytest.fixture
def site(product, tmp_path, migrated):
    q_cluster = {
        "ALT_CLUSTERS": {"other": {"workers": 1}},
        "name": f"acceptance-{time.time_ns()}",
        "ack_failures": False,
        "max_attempts": 2,
        "recycle": 4,
        "retry": RETRY,
        "workers": 2,
    }
    shutil.copy(migrated.sqlite(), tmp_path / "db.sqlite3")
    return Site(tmp_path, q_cluster | product[0], None, ("django_q_orm",))


def assert_commands_work(site):
    """Assert that the commands show the cluster, its queue and its workers, and find nothing wrong."""
    shown = site.run(
        """
        import io
        from django.core.management import call_command
        answer = {}
        for name, *options in (
            ("qmonitor", "--run-once", "--json"),
            ("qinfo", "--json"),
            ("qmemory", "--run-once", "--workers", "--json"),
            ("qhealth", "--max-queue", "5", "--max-age", "60", "--json"),
        ):
            out = io.StringIO()
            call_command(name, *options, stdout=out)
            answer[name] = json.loads(out.getvalue())
        """
    )
    (cluster,) = shown["qmonitor"]["clusters"]
    (queue,) = [row for row in shown["qmonitor"]["queues"] if row["name"] == cluster["queue"]]
    assert (len(cluster["workers"]), queue["waiting"]) == (2, 0)
    assert shown["qinfo"]
    assert len(shown["qmemory"]["clusters"]) == 1
    assert shown["qhealth"]["healthy"] is True


def test_cluster_works_on_each_broker(site, product):
    with site.cluster() as cluster:
        workers = set(cluster.pids("ready for work"))
        site.run(
            f"""
            from django_q.tasks import async_task
            async_task("jobs.slow", "long", {RETRY * 3})
            async_task("jobs.boom", "fails")
            async_task("jobs.tidy", "late", 30, timeout=0.5, ack_failure=True)
            for number in range(8):
                async_task("jobs.mark", number)
            """
        )
        eventually(lambda: "long ends" in site.notes(), within=30, why=lambda: cluster.log)
        eventually(lambda: site.notes().count("fails") == 2, within=30, why=lambda: cluster.log)
        eventually(lambda: "late finally" in site.notes(), why=lambda: cluster.log)
        eventually(lambda: set(cluster.pids("ready for work")) - workers, why=lambda: cluster.log)
        eventually(lambda: len(outcomes(site)) == 3, why=lambda: cluster.log)
        assert_commands_work(site)

        restart(product[1], cluster)
        site.run("from django_q.tasks import async_task\nasync_task('jobs.mark', 'after')")
        eventually(lambda: "after" in site.notes(), within=30, why=lambda: cluster.log)
        eventually(lambda: left_over(site) == 0, within=20, why=lambda: cluster.log)
        assert cluster.stop() == 0, cluster.log

    notes = site.notes()
    assert sum(note.startswith("long begins") for note in notes) == 1, cluster.log
    assert [notes.count(str(number)) for number in range(8)] == [1] * 8, cluster.log
    tasks = outcomes(site)
    assert_failed(tasks["jobs.boom"], error="boom fails", attempt=2)
    assert_failed(tasks["jobs.tidy"], error="timeout", attempt=1)
    assert_succeeded(tasks["jobs.slow"], attempt=1)


@pytest.mark.parametrize("product", ["disque", "ironmq", "ministack", "mongo", "moto"], indirect=True)
def test_row_counts_the_runs_that_killed_clusters_began(site, product):
    shortest = 30 if "iron_mq" in product[0] else RETRY
    with site.cluster() as cluster:
        site.run("from django_q.tasks import async_task\nasync_task('jobs.slow', 'x', 3)")
        eventually(lambda: len(site.notes()) == 1, within=20, why=lambda: cluster.log)
        cluster.kill()
    with site.cluster() as cluster:
        eventually(lambda: len(site.notes()) == 2, within=shortest + 20, why=lambda: cluster.log)
        assert cluster.stop() == 0, cluster.log
    assert [note.split()[1] for note in site.notes()] == ["begins", "begins", "ends"]
    assert_succeeded(outcomes(site)["jobs.slow"], attempt=2)


def test_task_of_a_sender_with_a_shorter_lease_runs_once(tmp_path, migrated, disque_server):
    disque_server.start()
    shutil.copy(migrated.sqlite(), tmp_path / "db.sqlite3")
    q_cluster = {"disque_nodes": [disque_server.address], "name": f"acceptance-{time.time_ns()}", "retry": 60}
    site = Site(tmp_path, q_cluster | {"workers": 2}, None, ("django_q_orm",))
    with site.cluster() as cluster:
        site.run(
            """
            from dataclasses import replace
            from django_q.brokers import get_broker
            from django_q.conf import current_settings
            from django_q.tasks import async_task
            broker = get_broker(settings=replace(current_settings(), retry=1))
            async_task("jobs.slow", "x", 4, broker=broker)
            """
        )
        eventually(lambda: "x ends" in site.notes(), within=20, why=lambda: cluster.log)
        eventually(lambda: outcomes(site), why=lambda: cluster.log)
        assert_succeeded(outcomes(site)["jobs.slow"], attempt=1)
        assert cluster.stop() == 0, cluster.log
    assert [note.split()[1] for note in site.notes()] == ["begins", "ends"]


def test_each_cluster_has_its_queue_on_the_broker_they_share(site):
    with site.cluster(Q_CLUSTER_NAME="other") as other:
        site.run(
            """
            from django_q.tasks import async_task
            async_task("jobs.mark", "project's")
            async_task("jobs.mark", "other's", cluster="other")
            """
        )
        eventually(lambda: "other's" in site.notes(), within=20, why=lambda: other.log)
        assert other.stop() == 0, other.log
    assert site.notes() == ["other's"]
    with site.cluster() as project:
        eventually(lambda: "project's" in site.notes(), within=20, why=lambda: project.log)
        assert project.stop() == 0, project.log
    assert sorted(site.notes()) == ["other's", "project's"]


def restart(server, cluster):
    """Let the broker's server go away until the cluster has noticed."""
    if server is None:
        return
    server.stop()
    eventually(lambda: "broker unavailable" in cluster.log, within=30, why=lambda: cluster.log)
    server.start()
    eventually(lambda: "broker available again" in cluster.log, within=30, why=lambda: cluster.log)


def left_over(site):
    """Return the number of packages that wait, are hidden or are leased, as far as the broker tells."""
    return site.run(
        """
        from django_q.brokers import get_broker
        broker = get_broker()
        answer = broker.queue_size() + (broker.lock_size() or 0)
        """
    )


def outcomes(site):
    """Return the saved task of each function but the quick one."""
    found = site.run(
        f"""
        from django_q.models import Task
        answer = {{task.func: {ROW} for task in Task.objects.exclude(func="jobs.mark")}}
        """
    )
    return {func: SavedTask(**row) for func, row in found.items()}


@pytest.mark.parametrize("kind", ["sqlite", "postgres", "redis"])
def test_cluster_consumes_several_queues(make_site, kind):
    site = make_site(kind)
    send = """
    from django_q.tasks import async_bulk, async_chain
    for queue in (None, "mail", "slow"):
        async_bulk([("jobs.mark", (f"{queue} {number}",)) for number in range(5)], cluster=queue)
    async_chain([("jobs.mark", ("first link",)), ("jobs.mark", ("last link",))], cluster="mail")
    """
    expected = {f"{queue} {number}" for queue in (None, "mail") for number in range(5)} | {"first link", "last link"}
    with site.cluster("--queues", "default,mail") as cluster:
        site.run(send)
        eventually(lambda: {*site.notes()} == expected, within=20, why=lambda: (site.notes(), cluster.log))
        site.run("import time; time.sleep(1)")
        assert sorted(site.notes()) == sorted(expected)
        assert cluster.stop() == 0
    sizes = (
        "from django_q.brokers import get_broker\nanswer = [get_broker(n).queue_size() for n in (None, 'mail', 'slow')]"
    )
    assert site.run(sizes) == [0, 0, 5]
