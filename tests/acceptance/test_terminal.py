"""The commands for operators in a real terminal, in a pipe, and beside a real cluster."""

from __future__ import annotations

import json
import subprocess
import sys
from functools import partial

import pytest

from .pseudo_terminal import pseudo_terminal
from .site import eventually

ROLES = ("sentinel", "pusher", "monitor")
TITLES = ["Host", "Id", "State", "Pool", "TQ", "RQ", "RC", "Up"]

PUBLISH = """
from datetime import timedelta
from django.utils import timezone
from django_q import status
status.TTL_SECONDS = 600  # these clusters publish once
for number in range({count}):
    status.Stat(
        1000 + number, "cluster-%02d" % number, host=["Orion", "Phoenix"][number % 2], status="Working",
        queue="acceptance", workers=[1, 2, 3, 4], task_q_size=number, tob=timezone.now() - timedelta(seconds=75),
    ).save()
"""


@pytest.fixture
def sqlite(make_site):
    """A site with the database broker."""
    return make_site("sqlite")


def publish(site, count: int) -> None:
    """Publish the statistics of clusters on two hosts."""
    site.run(PUBLISH.format(count=count))


@pytest.mark.parametrize(("columns", "lines"), [(80, 24), (120, 40), (200, 50)])
def test_monitor_shows_twenty_clusters_on_two_hosts(sqlite, columns, lines):
    publish(sqlite, 20)
    with pseudo_terminal(sqlite, "qmonitor", columns=columns, lines=lines) as terminal:
        shown = terminal.shows(lambda screen: any("q Quit" in line for line in screen))
        assert shown[0].split() == TITLES + (["Queue"] if columns > 80 else [])
        fits = 19 if lines == 24 else 20
        ids = [1000 + number for number in [*range(0, 20, 2), *range(1, 20, 2)]]
        assert [int(line.split()[1]) for line in shown[1 : fits + 1]] == ids[:fits]
        assert [line.split()[0] for line in shown[1:11]] == ["Orion"] * 10
        assert ("more rows" in shown[fits + 1]) == (fits < 20)
        assert terminal.colour(1, shown[1].index("Working")) == "green"
        terminal.type("q")
        assert terminal.wait() == 0


def test_monitor_without_clusters_says_so(sqlite):
    with pseudo_terminal(sqlite, "qmonitor") as terminal:
        assert terminal.shows(lambda screen: "No clusters appear to be running." in screen)[0].split() == TITLES
        terminal.type("Q")
        assert terminal.wait() == 0


def test_monitor_follows_the_size_of_the_window(sqlite):
    publish(sqlite, 1)
    with pseudo_terminal(sqlite, "qmonitor", columns=80) as terminal:
        terminal.shows(lambda screen: "1000" in screen[1])
        terminal.set_size(120, 30)
        terminal.shows(lambda screen: screen[0].endswith("Queue"), within=2)
        terminal.set_size(40, 10)
        terminal.shows(lambda screen: screen[0].startswith("Host") and screen[0].endswith("…"), within=2)


def test_keys_choose_the_view(sqlite):
    with pseudo_terminal(sqlite, "qmonitor") as terminal:
        terminal.shows(lambda screen: screen[0].startswith("Host"))
        for key, title in [("2", "Queue"), ("3", "Task"), ("1", "Host")]:
            terminal.type(key)
            terminal.shows(lambda screen, title=title: screen[0].startswith(title))


@pytest.mark.parametrize(("columns", "lines"), [(80, 24), (120, 40), (200, 50)])
def test_memory_is_shown_until_q_is_pressed(sqlite, columns, lines):
    publish(sqlite, 20)
    with pseudo_terminal(sqlite, "qmemory", "--workers", columns=columns, lines=lines) as terminal:
        shown = terminal.shows(lambda screen: any("other hosts" in line for line in screen))
        assert shown[0].split()[:4] == ["Host", "Id", "Available", "%"]
        assert [line.split()[1] for line in shown[1:11]] == [str(1000 + number) for number in range(0, 20, 2)]
        terminal.type("q")
        assert terminal.wait() == 0


def test_interrupt_ends_the_monitor_and_restores_the_terminal(sqlite):
    with pseudo_terminal(sqlite, "qmonitor") as terminal:
        terminal.shows(lambda screen: screen[0].startswith("Host"))
        terminal.type("\x03")
        assert terminal.wait() == 0
        assert not terminal.screen.cursor.hidden


@pytest.mark.parametrize("command", ["qmonitor", "qinfo", "qmemory --workers"])
@pytest.mark.parametrize("reader", ["head -n 1", "sh -c 'exec <&-; sleep 5'"])
def test_pipe_that_ends_early_is_no_error(sqlite, command, reader):
    publish(sqlite, 20)
    status = f"({sys.executable} -m django {command}; echo $? > status) | {reader}"
    done = subprocess.run(
        ["sh", "-c", status],
        check=False,
        env=sqlite.environment,
        cwd=sqlite.folder,
        capture_output=True,
        text=True,
        timeout=120,
    )
    assert done.stderr == ""
    assert (sqlite.folder / "status").read_text() == "0\n"


def test_health_follows_the_life_of_a_cluster(site):
    def health(*arguments, run=site.command):
        done = run("qhealth", "--cluster", "acceptance", *arguments)
        return done.returncode, (done.stdout + done.stderr).strip()

    assert health(run=partial(site.manage, check=False)) == (1, "No cluster 'acceptance' runs.")
    with site.cluster() as cluster:
        eventually(
            lambda: health("--max-queue", "0", "--max-age", "5") == (0, "1 of 1 cluster is healthy."), why=health
        )
        cluster.kill()
        eventually(lambda: health()[0] == 1, within=6, why=health)


def is_complete(clusters):
    """Return True if there is a cluster, and its statistics were published after all its processes had started."""
    return bool(clusters) and len(clusters[0]["workers"]) == 2 and all(clusters[0][role] for role in ROLES)


def test_monitor_shows_a_real_cluster_its_queue_and_its_task(site):
    with site.cluster() as cluster:
        site.run(
            """
            from django_q.tasks import async_task
            async_task.options(track=True, task_name="sleeper")('jobs.slow', 'one', 60)
            """
        )

        def shown(*arguments, run=site.command):
            done = run(*arguments)
            assert done.returncode == 0, done.stderr
            return done.stdout

        def found():
            return json.loads(shown("qmonitor", "--json"))

        snapshot = eventually(
            lambda: next((each for each in [found()] if each["running"] and is_complete(each["clusters"])), None),
            why=found,
        )
        (row,) = snapshot["clusters"]
        assert (row["pid"], len(row["workers"]), row["queue"]) == (cluster.process.pid, 2, "acceptance")
        assert [queue["name"] for queue in snapshot["queues"]] == ["acceptance"]
        assert snapshot["running"][0]["name"] == "sleeper"
        assert snapshot["problems"] == []
        assert str(cluster.process.pid) in shown("qmonitor", "--run-once")
        assert "sleeper" in shown("qmonitor", "--run-once", "--view", "running")
        assert row["cluster_id"] in shown("qinfo", "--ids")
        assert shown("qinfo").splitlines()[1].split() == ["Clusters", "1", "Workers", "2", "Restarts", "0"]
        (memory,) = json.loads(shown("qmemory", "--json"))["clusters"]
        assert {worker["pid"] for worker in memory["workers"]} == set(row["workers"])
        assert min(memory[role] for role in ROLES) > 2**20
        assert min(worker["size"] for worker in memory["workers"]) > 2**20
        task_id = snapshot["running"][0]["id"]
        assert task_id in shown("qtasks", "list", "--status", "running")
        assert "jobs.slow" in shown("qtasks", "show", task_id)
        shown("qtasks", "cancel", task_id, run=site.manage)
        eventually(lambda: task_id in shown("qtasks", "list", "--status", "cancelled"))
        shown("qtasks", "resubmit", task_id, run=site.manage)
        eventually(lambda: site.notes()[-1].startswith("one begins") and len(site.notes()) == 2, why=site.notes)
        cluster.kill()  # the task would take a minute
