"""Probes over HTTP, while processes are killed, servers are stopped, and clients are hostile."""

from __future__ import annotations

import http.client
import re
import signal
import socket
import subprocess
from contextlib import closing, contextmanager, suppress

import psutil
import pytest

from tests.services.ports import free_port

from .site import RunningCluster, eventually


@contextmanager
def serving(site, *arguments):
    """A running cluster with probes on a free port."""
    with site.cluster("--http", "0", *arguments) as cluster:
        eventually(lambda: port_of(cluster), why=lambda: cluster.log)
        yield cluster


def port_of(cluster: RunningCluster) -> int:
    """Port of the probes; 0 if they do not listen yet."""
    found = re.findall(r"serving probes on http://127\.0\.0\.1:(\d+)", cluster.log)
    return int(found[-1]) if found else 0


def get(cluster: RunningCluster, path: str, *, method: str = "GET", seconds: float = 20) -> tuple[int, str]:
    """Request a page; return its status and text. Status 0: the connection was closed."""
    with closing(http.client.HTTPConnection("127.0.0.1", port_of(cluster), timeout=seconds)) as connection:
        try:
            connection.request(method, path)
            response = connection.getresponse()
            return response.status, response.read().decode()
        except (http.client.HTTPException, ConnectionError) as error:
            return 0, repr(error)


@pytest.mark.parametrize("start_method", ["fork", "spawn", "forkserver"])
def test_probes_answer_with_each_start_method(make_site, start_method):
    with serving(make_site("sqlite", start_method=start_method)) as cluster:
        eventually(lambda: get(cluster, "/readyz") == (200, "ok\n"), why=lambda: (get(cluster, "/readyz"), cluster.log))
        assert get(cluster, "/livez") == (200, "ok\n")
        assert get(cluster, "/livez?verbose=1") == (200, "ok\n")
        assert get(cluster, "/livez", method="HEAD") == (200, "")
        assert get(cluster, "/livez", method="POST")[0] == 405
        assert get(cluster, "/nothing")[0] == 404
        assert cluster.stop() == 0


def test_curl_reads_the_probes(make_site):
    with serving(make_site("sqlite")) as cluster:
        address = f"http://127.0.0.1:{port_of(cluster)}/livez"
        done = subprocess.run(["curl", "-sSf", address], capture_output=True, text=True, timeout=20, check=False)
        assert (done.returncode, done.stdout, done.stderr) == (0, "ok\n", "")


@pytest.mark.parametrize("role", ["ready for work", "pushing tasks", "monitoring", "scheduling"])
def test_killed_process_is_replaced_and_the_cluster_lives(make_site, role):
    with serving(make_site("sqlite")) as cluster:
        pid = eventually(lambda: cluster.pids(role))[0]
        psutil.Process(pid).kill()
        for _ in range(20):
            assert get(cluster, "/livez") == (200, "ok\n")
        eventually(lambda: cluster.pids(role) and pid not in cluster.pids(role), why=lambda: cluster.log)
        eventually(lambda: get(cluster, "/readyz") == (200, "ok\n"))


def test_killed_probes_lose_no_request(make_site):
    with serving(make_site("sqlite")) as cluster:
        for _ in range(3):
            killed = probe_process(cluster)
            killed.suspend()  # so that the next connection waits for its successor
            with closing(socket.create_connection(("127.0.0.1", port_of(cluster)), 20)) as client:
                client.sendall(b"GET /livez HTTP/1.1\r\n\r\n")
                killed.kill()
                assert client.makefile("rb").readline() == b"HTTP/1.1 200 OK\r\n"
            eventually(lambda pid=killed.pid: probe_process(cluster).pid != pid)
        assert cluster.stop() == 0


def probe_process(cluster: RunningCluster) -> psutil.Process:
    """The process that serves the probes."""
    return psutil.Process(eventually(lambda: cluster.pids(r"serving probes on \S+"))[-1])


def test_stalled_process_makes_the_cluster_dead(make_site):
    site = make_site("sqlite", guard_timeout=6, guard_cycle=59)
    with serving(site) as cluster:
        assert get(cluster, "/livez") == (200, "ok\n")
        cluster.freeze(cluster.pids("scheduling")[0])
        text = eventually(lambda: "scheduler made no progress" in get(cluster, "/livez")[1] and get(cluster, "/livez"))
        assert text[0] == 503


def test_long_task_is_no_stall(make_site):
    site = make_site("sqlite", guard_timeout=3, workers=1)
    with serving(site) as cluster:
        site.run("from django_q.tasks import async_task; async_task('jobs.slow', 'long', 8)")
        eventually(lambda: any("begins" in line for line in site.notes()))
        while "long ends" not in site.notes():
            assert get(cluster, "/livez") == (200, "ok\n")


def test_cluster_without_its_broker_lives_and_is_not_ready(make_site, redis_server):
    with serving(make_site("redis")) as cluster:
        eventually(lambda: get(cluster, "/readyz") == (200, "ok\n"))
        redis_server.stop()
        try:
            status, text = eventually(lambda: get(cluster, "/readyz")[0] == 503 and get(cluster, "/readyz"))
            assert status == 503
            assert "broker is not ready" in text
            assert "database" not in text
            assert get(cluster, "/livez") == (200, "ok\n")
        finally:
            redis_server.start()
        eventually(lambda: get(cluster, "/readyz") == (200, "ok\n"))


def test_hanging_database_blocks_neither_probe(make_site, postgres_server):
    with serving(make_site("postgres")) as cluster:
        eventually(lambda: get(cluster, "/readyz") == (200, "ok\n"))
        postgres_server.pause()
        try:
            status, text = eventually(lambda: get(cluster, "/readyz")[0] == 503 and get(cluster, "/readyz"))
            assert status == 503
            assert "database is not ready" in text
            assert get(cluster, "/livez", seconds=1.5) == (200, "ok\n")
        finally:
            postgres_server.resume()
        eventually(lambda: get(cluster, "/readyz") == (200, "ok\n"), within=20)


def test_waiting_cluster_lives_and_is_not_ready(make_site):
    port = free_port()
    cluster = RunningCluster(make_site("sqlite", redis={"port": 1}, orm=None), ("--http", str(port)), {})
    try:
        eventually(lambda: "waits to start" in cluster.log, why=lambda: cluster.log)
        answers = {}
        for path in ("/livez", "/readyz"):
            with closing(http.client.HTTPConnection("127.0.0.1", port, timeout=20)) as connection:
                connection.request("GET", path)
                answers[path] = connection.getresponse().status
        assert answers == {"/livez": 200, "/readyz": 503}
    finally:
        cluster.end()


def test_stopping_cluster_lives_and_is_not_ready(make_site):
    site = make_site("sqlite")
    with serving(site) as cluster:
        site.run("from django_q.tasks import async_task; async_task('jobs.slow', 'long', 6)")
        eventually(lambda: any("begins" in line for line in site.notes()))
        cluster.signal(signal.SIGTERM)
        eventually(lambda: get(cluster, "/readyz") == (503, "The cluster is stopping.\n"))
        assert get(cluster, "/livez") == (200, "ok\n")
        assert cluster.process.wait(40) == 0
        with pytest.raises(ConnectionRefusedError):
            socket.create_connection(("127.0.0.1", port_of(cluster)), 5)


def test_port_in_use_is_one_clear_line(make_site):
    with closing(socket.create_server(("127.0.0.1", 0))) as other:
        port = other.getsockname()[1]
        done = make_site("sqlite").manage("qcluster", "--http", str(port), "--run-once", "--skip-checks", check=False)
    assert done.returncode == 1
    assert len(done.stderr.strip().splitlines()) == 1
    assert f"cannot listen on 127.0.0.1:{port} (Address already in use)" in done.stderr


def test_programs_that_tasks_leave_do_not_keep_the_port(make_site):
    site = make_site("sqlite")
    with (site.folder / "jobs.py").open("a") as jobs:
        jobs.write(
            """
def leave_a_fork():
    if os.fork() == 0:
        os.setsid()
        time.sleep(600)
    return True
"""
        )
    with serving(site) as cluster:
        code = "from django_q.tasks import *; answer = result(async_task('jobs.leave_a_fork'), 20000)"
        assert site.run(code) is True
        left = [each for each in psutil.process_iter() if is_left(each, cluster)]
        assert left
        port = port_of(cluster)
        assert cluster.stop() == 0
    try:
        socket.create_server(("127.0.0.1", port)).close()
    finally:
        for each in left:
            with suppress(psutil.NoSuchProcess):
                each.kill()


def is_left(process: psutil.Process, cluster: RunningCluster) -> bool:
    """Return True if a process is a fork that a worker's task has made."""
    with suppress(psutil.NoSuchProcess):
        return process.ppid() in cluster.pids("ready for work")
    return False


def test_hostile_clients_do_not_block_the_probes(make_site):
    with serving(make_site("sqlite")) as cluster:
        place = ("127.0.0.1", port_of(cluster))
        huge = socket.create_connection(place, 20)
        with suppress(ConnectionError):
            huge.sendall(b"GET /livez HTTP/1.1\r\nX: " + b"x" * 5_000_000)
        assert get(cluster, "/livez") == (200, "ok\n")
        half_open = [socket.create_connection(place, 20) for _ in range(200)]
        for client in half_open[::2]:
            with suppress(ConnectionError):
                client.sendall(b"GET /livez")
        for line in (b"\0" * 100, b"GET", b"GET livez HTTP/1.1", b"\xff \xff HTTP/9"):
            with closing(socket.create_connection(place, 20)) as client:
                client.sendall(line + b"\r\n\r\n")
                assert client.makefile("rb").readline().startswith(b"HTTP/1.1 400 ")
        assert get(cluster, "/livez") == (200, "ok\n")
        process = probe_process(cluster)
        eventually(lambda: sum(each.status == "ESTABLISHED" for each in process.net_connections()) == 0, within=10)
        assert process.cpu_percent(0.5) < 50
        for client in (huge, *half_open):
            client.close()
        assert get(cluster, "/readyz") == (200, "ok\n")


def test_client_that_reads_nothing_is_disconnected(make_site):
    with serving(make_site("sqlite")) as cluster:
        client = socket.create_connection(("127.0.0.1", port_of(cluster)), 20)
        client.sendall(b"GET /livez HTTP/1.1\r\n\r\n")
        process = probe_process(cluster)
        eventually(lambda: not [each for each in process.net_connections() if each.status == "ESTABLISHED"])
        client.close()
