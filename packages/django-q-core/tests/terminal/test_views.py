"""Screens of given snapshots."""

from __future__ import annotations

import textwrap

import pytest
from django_q.terminal.snapshot import QueueRow, Totals
from django_q.terminal.tables import plain, styled, width_of
from django_q.terminal.views import VIEWS, clock, emptiness, rate_of, screen, summary

MANUAL_TITLES = ["Host", "Id", "State", "Pool", "TQ", "RQ", "RC", "Up"]


def text(lines) -> str:
    return "\n".join(plain(line) for line in lines)


def styles(lines) -> dict[str, str]:
    return {segment.text.strip(): segment.style for line in lines for segment in line}


def expected(block: str) -> str:
    return textwrap.dedent(block).strip("\n")


def test_table_of_the_manual_in_80_columns(snapshot, cluster):
    one, two = (
        cluster(4),
        cluster(host="Phoenix", pid=14710, workers=range(8), task_queue=63, result_queue=14, uptime=618),
    )
    assert text(screen(snapshot(one, two), "clusters", 80)) == expected(
        """
        Host      Id       State     Pool     TQ     RQ   RC        Up
        Phoenix   17004    Working      4     23      0    0   0:01:15
        Phoenix   14710    Working      8     63     14    0   0:10:18
        2                              12     86     14    0

        Redis 8.2   Queued 3 (2 in flight)   Successes 1000   Failures 2
        """
    )


@pytest.mark.parametrize("width", [120, 200])
def test_wide_screens_show_the_queue_too(snapshot, cluster, width):
    assert text(screen(snapshot(cluster()), "clusters", width)) == expected(
        """
        Host      Id       State     Pool     TQ     RQ   RC        Up  Queue
        Orion     17001    Working      4     23      0    0   0:01:15  shop

        Redis 8.2   Queued 3 (2 in flight)   Successes 1000   Failures 2
        """
    )


def test_screen_without_clusters_says_so(snapshot):
    lines = text(screen(snapshot(), "clusters", 80)).splitlines()
    assert lines[0].split() == MANUAL_TITLES
    assert lines[1] == "No clusters appear to be running."


@pytest.mark.parametrize("width", [80, 120, 200])
def test_twenty_clusters_on_two_hosts_are_all_shown(snapshot, cluster, width):
    lines = text(screen(snapshot(*map(cluster, range(20))), "clusters", width)).splitlines()
    assert [line.split()[1] for line in lines[1:21]] == [str(17_000 + number) for number in range(20)]
    assert {line.split()[0] for line in lines[1:21]} == {"Orion", "Phoenix"}
    assert lines[21].split() == ["20", "80", "460", "0", "0"]


def test_screen_that_is_too_low_counts_the_missing_rows(snapshot, cluster):
    lines = screen(snapshot(*map(cluster, range(20))), "clusters", 80, 12, keys=True)
    shown = text(lines).splitlines()
    assert len(lines) == 12
    assert [line.split()[1] for line in shown[1:8]] == [str(17_000 + number) for number in range(7)]
    assert shown[8] == "… 14 more rows"
    assert shown[-1].endswith("q Quit")


@pytest.mark.parametrize("view", VIEWS)
@pytest.mark.parametrize("width", [1, 10, 40, 80, 120, 200])
@pytest.mark.parametrize("height", [None, 1, 3, 24])
def test_no_line_is_wider_than_the_screen(snapshot, cluster, running_task, view, width, height):
    long = {"host": "worker-" + "x" * 300, "queue": "q" * 100}
    tasks = [running_task(number, name="名" * 90, func="f" * 250) for number in range(3)]
    shown = snapshot(cluster(**long), cluster(2), running=tasks, problems=("The server " + "fails " * 90,))
    lines = screen(shown, view, width, height, keys=True)
    assert max(width_of(plain(line)) for line in lines) <= width
    assert height is None or len(lines) <= height


def test_long_host_name_is_shortened_first(snapshot, cluster):
    line = text(screen(snapshot(cluster(host="h" * 90)), "clusters", 80)).splitlines()[1]
    assert line.startswith("hhhhh")
    assert line.split()[0].endswith("…")
    assert line.split()[1:] == ["17001", "Working", "4", "23", "0", "0", "0:01:15"]


def test_colours_tell_states_and_limits(snapshot, cluster):
    rows = (
        cluster(status="Working", task_queue=49),
        cluster(status="Stopping", task_queue=50),
        cluster(status="Stopped", reincarnations=7),
    )
    lines = screen(snapshot(*rows), "clusters", 80)
    found = styles(lines)
    assert (found["Working"], found["Stopping"], found["Stopped"]) == ("green", "yellow", "red")
    assert (found["49"], found["50"]) == ("", "green")  # the manual: "it will turn green when that limit is reached"
    assert {segment.style for line in lines for segment in line if segment.text.strip() == "7"} == {"yellow", "bold"}


def test_styled_line_contains_the_plain_one(snapshot, cluster):
    (_, row, *_) = screen(snapshot(cluster()), "clusters", 80)
    assert styled(row, lambda name: lambda text: f"<{name}>{text}</>").count("<green>") == 1


def test_view_of_queues(snapshot, cluster):
    rows = (
        QueueRow(name="shop", waiting=3, in_flight=2, dead=1),
        QueueRow(name="mail", waiting=0, in_flight=None, dead=0),
    )
    assert text(screen(snapshot(cluster(), queues=rows), "queues", 80)).splitlines()[:3] == [
        "Queue                 Waiting  In flight  Dead letters  Clusters",
        "shop                        3          2             1         1",
        "mail                        0          -             0         0",
    ]


def test_view_of_running_tasks(snapshot, running_task):
    lines = text(screen(snapshot(running=[running_task()]), "running", 80)).splitlines()
    assert lines[0].split() == ["Task", "Function", "Attempt", "Time", "Worker"]
    assert lines[1].split() == ["report-1", "reports.tasks.send", "2", "0:01:01", "Orion/cluster-1/8"]


def test_empty_view_of_running_tasks_explains_itself(snapshot):
    assert "tracked" in text(screen(snapshot(), "running", 80))


@pytest.mark.parametrize("view", VIEWS)
def test_sentences_of_empty_views_are_whole_in_80_columns(snapshot, view):
    assert emptiness(view) in text(screen(snapshot(queues=()), view, 80))


def test_problems_are_shown_below_in_whole_words(snapshot):
    shown = text(screen(snapshot(problems=("one two " * 15,)), "clusters", 40)).splitlines()
    assert " ".join(shown[4:]) == ("one two " * 15).strip()


def test_summary_of_the_manual(snapshot, cluster):
    assert text(summary(snapshot(cluster()), "1.0", 80)) == expected(
        """
        djq summary
        Clusters     1            Workers      4            Restarts     0
        Queued       3            Successes    1000         Failures     2
        Schedules    4            Tasks/hour   7.38         Avg time     0.1612
        Django Q 1.0, Redis 8.2
        """
    )


def test_summary_without_database_shows_the_rest(snapshot, cluster):
    shown = text(summary(snapshot(cluster(), totals=None, problems=("The database cannot be read.",)), "1.0", 80))
    assert "Workers      4" in shown
    assert "Successes    -" in shown
    assert shown.endswith("The database cannot be read.")


@pytest.mark.parametrize(
    ("recent", "shown"),
    [
        (0, ("0.00", "Tasks/day")),
        (23, ("23.00", "Tasks/day")),
        (24, ("1.00", "Tasks/hour")),
        (1440, ("1.00", "Tasks/minute")),
        (86_400 * 3, ("3.00", "Tasks/second")),
    ],
)
def test_unit_of_the_rate_depends_on_it(recent, shown):
    assert rate_of(Totals(successes=0, failures=0, schedules=0, recent=recent, average=0)) == shown


@pytest.mark.parametrize(("seconds", "shown"), [(0, "0:00:00"), (75.9, "0:01:15"), (360_000, "100:00:00")])
def test_uptime_is_hours_minutes_and_seconds(seconds, shown):
    assert clock(seconds) == shown
