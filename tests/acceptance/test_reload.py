"""`qcluster --reload` restarts the cluster when code changes."""

from __future__ import annotations

import signal

import psutil
import pytest

from .site import RunningCluster, eventually, lives

READ = "from django_q.tasks import *; answer = result(async_task('answers.number'), 20000)"


@pytest.fixture
def site(make_site):
    """A site whose task returns a number."""
    site = make_site("sqlite")
    write(site, 1)
    return site


@pytest.fixture
def cluster(site):
    """A cluster that reloads its code."""
    cluster = RunningCluster(site, ("--reload",), {})
    eventually(lambda: starts(cluster) == 1, within=20, why=lambda: cluster.log)
    yield cluster
    cluster.end()


def write(site, number: object) -> None:
    """Write the module of the task."""
    (site.folder / "answers.py").write_text(f"def number():\n    return {number}\n")


def starts(cluster: RunningCluster) -> int:
    """Number of times that the cluster has started completely."""
    return cluster.log.count(" running. [")


def test_changed_code_is_executed(site, cluster):
    assert site.run(READ) == 1
    write(site, 22)
    eventually(lambda: starts(cluster) == 2, within=20, why=lambda: cluster.log)
    assert site.run(READ) == 22
    assert "answers.py changed" in cluster.log
    assert cluster.log.count("has stopped.") == 1


def test_syntax_error_is_survived(site, cluster):
    settings = (site.folder / "site_settings.py").read_text()
    (site.folder / "site_settings.py").write_text(settings + "\n)\n")
    eventually(lambda: "starts again when code changes" in cluster.log, within=20, why=lambda: cluster.log)
    assert "SyntaxError" in cluster.log
    (site.folder / "site_settings.py").write_text(settings + "\n# corrected\n")
    eventually(lambda: starts(cluster) == 2, within=20, why=lambda: cluster.log)
    assert site.run(READ) == 1


@pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGTERM])
def test_signal_stops_the_cluster_in_order(cluster, number):
    family = cluster.family()
    cluster.signal(number)
    assert cluster.process.wait(40) == 0, cluster.log
    assert cluster.log.count("has stopped.") == 1
    assert not any(map(lives, family))


def test_kill_leaves_no_process(cluster):
    family = cluster.family()
    assert len(family) > 5
    psutil.Process(cluster.process.pid).kill()
    eventually(lambda: not any(map(lives, family[1:])), why=lambda: cluster.log)


def test_end_of_the_cluster_is_the_end(site):
    assert site.manage("qcluster", "--reload", "--run-once").returncode == 0
