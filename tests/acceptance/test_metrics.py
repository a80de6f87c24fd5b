"""Metrics of a running cluster, read by the parser of Prometheus' own client."""

from __future__ import annotations

import psutil
import pytest

from .site import eventually
from .test_probes import get, serving

parser = pytest.importorskip("prometheus_client.parser")

WITHOUT_LIBRARY = """
import importlib.util
find_spec = importlib.util.find_spec
importlib.util.find_spec = lambda name, package=None: None if name == "prometheus_client" else find_spec(name, package)
"""


def values(cluster) -> dict[tuple[str, ...], float]:
    """Values by the name of the metric and the values of its labels, without that of the cluster."""
    status, text = get(cluster, "/metrics")
    assert status == 200, text
    return {
        (sample.name, *sorted(value for key, value in sample.labels.items() if key != "cluster")): sample.value
        for family in parser.text_string_to_metric_families(text)
        for sample in family.samples
    }


def awaited(cluster, *name: str, value: float) -> None:
    """Wait until a metric has a value."""
    eventually(lambda: values(cluster).get(name) == value, why=lambda: (values(cluster), cluster.log))


@pytest.mark.parametrize("start_method", ["fork", "spawn"])
@pytest.mark.parametrize("kind", ["sqlite", "redis"])
def test_tasks_are_counted(make_site, kind, start_method):
    site = make_site(kind, start_method=start_method, ack_failures=True)
    with serving(site) as cluster:
        site.run(
            """
            from django_q.tasks import async_task
            for number in range(5):
                async_task("jobs.mark", number)
            async_task("jobs.boom", "x")
            """
        )
        awaited(cluster, "django_q_tasks_finished_total", "jobs.mark", "success", value=5)
        awaited(cluster, "django_q_tasks_finished_total", "failure", "jobs.boom", value=1)
        found = values(cluster)
        assert found["django_q_task_run_seconds_count", "jobs.mark"] == 5
        assert found["django_q_task_wait_seconds_count", "jobs.mark"] == 5
        assert found["django_q_task_wait_seconds_sum", "jobs.mark"] > 0
        assert found["django_q_server_up", "broker"] == 1


def test_numbers_do_not_shrink_when_processes_are_killed(make_site):
    site = make_site("sqlite")
    send = "from django_q.tasks import *; answer = result(async_task('jobs.mark', 1), 20000)"
    with serving(site) as cluster:
        assert site.run(send) == 1
        awaited(cluster, "django_q_tasks_finished_total", "jobs.mark", "success", value=1)
        for role in ("monitoring", "ready for work", r"serving probes on \S+"):
            pid = eventually(lambda role=role: cluster.pids(role))[0]
            psutil.Process(pid).kill()
            eventually(lambda role=role, pid=pid: cluster.pids(role) and pid not in cluster.pids(role))
        assert site.run(send) == 1
        awaited(cluster, "django_q_tasks_finished_total", "jobs.mark", "success", value=2)
        found = values(cluster)
        assert found["django_q_tasks_started_total",] == 2
        assert [found["django_q_process_restarts_total", role] for role in ("monitor", "worker", "probes")] == [1] * 3
        assert found["django_q_process_restarts_total", "pusher"] == 0


def test_tasks_that_tasks_send_are_counted(make_site):
    site = make_site("sqlite")
    with (site.folder / "jobs.py").open("a") as jobs:
        jobs.write("\ndef sends():\n    from django_q.tasks import async_task\n    async_task('jobs.mark', 'sent')\n")
    with serving(site) as cluster:
        site.run("from django_q.tasks import async_task; async_task('jobs.sends')")
        awaited(cluster, "django_q_tasks_finished_total", "jobs.mark", "success", value=1)
        assert values(cluster)["django_q_tasks_sent_total",] == 1


def test_queues_are_measured(make_site):
    site = make_site("sqlite", workers=1, queue_limit=1)
    with serving(site) as cluster:
        site.run(
            """
            from django_q.tasks import async_task
            async_task("jobs.slow", "long", 600, q_options={"timeout": 700})
            for number in range(9):
                async_task("jobs.mark", number)
            """
        )
        awaited(cluster, "django_q_workers", "busy", value=1)

        def settled():
            """Return the metrics, once no task is counted twice because it is fetched between two counts."""
            found = values(cluster)
            waiting = found["django_q_queue_waiting_tasks", "acceptance"]
            in_flight = found["django_q_queue_in_flight_tasks", "acceptance"]
            return 7 <= waiting <= 9 and waiting + in_flight == 10 and found

        found = eventually(settled, why=lambda: values(cluster))
        assert found["django_q_queue_oldest_waiting_seconds", "acceptance"] > 0
        assert found["django_q_queue_dead_letters", "acceptance"] == 0
        cluster.kill()


def test_lost_lease_of_a_running_task_is_counted(make_site):
    site = make_site("redis", retry=3, timeout=None)
    with serving(site) as cluster:
        site.run("from django_q.tasks import async_task; async_task('jobs.slow', 'long', 600)")
        eventually(lambda: any("begins" in line for line in site.notes()))
        site.run("from django_q.brokers import get_broker; get_broker().delete_queue()")
        awaited(cluster, "django_q_leases_lost_total", value=1)
        cluster.kill()


def test_broker_that_stops_leaves_the_other_metrics(make_site, redis_server):
    with serving(make_site("redis")) as cluster:
        awaited(cluster, "django_q_server_up", "broker", value=1)
        redis_server.stop()
        try:
            awaited(cluster, "django_q_server_up", "broker", value=0)
            found = values(cluster)
            assert found["django_q_server_up", "database"] == 1
            assert ("django_q_queue_waiting_tasks", "acceptance") not in found
            assert found["django_q_workers", "idle"] == 2
        finally:
            redis_server.start()
        awaited(cluster, "django_q_server_up", "broker", value=1)


def test_cluster_without_the_library_says_so(make_site):
    site = make_site("sqlite")
    (site.folder / "sitecustomize.py").write_text(WITHOUT_LIBRARY)
    with serving(site) as cluster:
        status, text = get(cluster, "/metrics")
        assert status == 501
        assert 'pip install "django-q-core[metrics]"' in text
        assert get(cluster, "/livez") == (200, "ok\n")


def test_library_is_not_imported_without_probes(make_site):
    site = make_site("sqlite")
    code = "from django_q.tasks import *; answer = result(async_task('jobs.libraries'), 20000)"
    with (site.folder / "jobs.py").open("a") as jobs:
        jobs.write("\ndef libraries():\n    return [name for name in sys.modules if 'prometheus' in name]\n")
    with site.cluster():
        assert site.run(code) == []
