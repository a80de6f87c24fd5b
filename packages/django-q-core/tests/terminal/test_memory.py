"""`qmemory`: measurements of this process, and screens of given values."""

from __future__ import annotations

import json
import os
import socket
from io import StringIO

import pytest
from django.core.cache import cache
from django.core.management import CommandError, call_command
from django_q.brokers import get_broker
from django_q.status import Stat
from django_q.terminal import memory
from django_q.terminal.memory import ClusterMemory, MemoryMeter, WorkerMemory, memory_screen
from django_q.terminal.tables import plain

psutil = pytest.importorskip("psutil")

MEGABYTE = 2**20
HERE = socket.gethostname()
UNKNOWN_PID = 2**22 + 1
"""Id that Linux gives to no process."""


@pytest.fixture(autouse=True)
def empty_cache():
    """Begin without statistics."""
    cache.clear()


@pytest.fixture
def meter():
    """Return a meter."""
    return MemoryMeter(get_broker())


def row(**values) -> ClusterMemory:
    defaults = {
        "host": "Orion", "pid": 17004, "cluster_id": "one", "available": 4096 * MEGABYTE, "total": 16_384 * MEGABYTE,
        "sentinel": 30 * MEGABYTE, "pusher": 40 * MEGABYTE, "monitor": 50 * MEGABYTE,
        "workers": (WorkerMemory(pid=8, size=60 * MEGABYTE), WorkerMemory(pid=9, size=None)),
    }  # fmt: skip
    return ClusterMemory(**defaults | values)


def output(*arguments: str) -> str:
    out = StringIO()
    call_command("qmemory", *arguments, stdout=out)
    return out.getvalue()


@pytest.mark.parametrize(("width", "pusher"), [(80, ""), (120, "      40"), (200, "      40")])
def test_screen_of_given_values(meter, width, pusher):
    header, line, *_ = map(plain, memory_screen(meter, [row()], width))
    assert header == "Host      Id       Available %  Available  Total  Sentinel  Monitor  Workers" + (
        "  Pusher" if pusher else ""
    )
    assert line == "Orion     17004           25.0       4096  16384        30       50       60" + pusher


def test_workers_are_listed_on_request(meter):
    shown = [plain(line).split() for line in memory_screen(meter, [row()], 80, workers=True)]
    assert shown[3:6] == [
        ["Host", "Id", "Worker", "Memory"],
        ["Orion", "17004", "8", "60"],
        ["Orion", "17004", "9", "-"],
    ]


@pytest.mark.parametrize(("percent", "style"), [(21, ""), (20, "yellow"), (10, "red")])
def test_little_available_memory_is_coloured(meter, percent, style):
    lines = memory_screen(meter, [row(available=percent * MEGABYTE, total=100 * MEGABYTE)], 80)
    assert next(each.style for each in lines[1] if each.text.strip() == f"{percent}.0") == style


def test_cluster_of_this_host_is_measured(meter):
    pid = os.getpid()
    Stat(pid, "one", host=HERE, sentinel=pid, monitor=pid, pusher=UNKNOWN_PID, workers=[pid, UNKNOWN_PID]).save()
    (found,) = meter.measure()
    size = psutil.Process().memory_info().rss
    assert found.sentinel == pytest.approx(size, rel=0.2)
    assert found.workers_size == found.workers[0].size == pytest.approx(size, rel=0.2)
    assert (found.pusher, found.workers[1].size) == (None, None)
    assert 0 < found.available < found.total


def test_cluster_of_another_host_is_not_measured(meter):
    Stat(os.getpid(), "one", host="elsewhere", sentinel=os.getpid(), workers=[os.getpid()]).save()
    (found,) = meter.measure()
    assert (found.sentinel, found.workers_size, found.percent) == (None, None, None)
    assert "other hosts" in "\n".join(map(plain, memory_screen(meter, [found], 80)))


def test_lowest_available_memory_is_remembered(meter, monkeypatch):
    Stat(1, "one", host=HERE).save()
    for available in (40, 10, 30):
        found = type("Memory", (), {"available": available, "total": 100})
        monkeypatch.setattr(meter.psutil, "virtual_memory", lambda found=found: found)
        rows = meter.measure()
    assert "Available lowest: 10.0 %" in [plain(line) for line in memory_screen(meter, rows, 80)]


def test_twenty_clusters_fit_the_screen_or_are_counted(meter):
    lines = memory_screen(meter, [row(pid=number) for number in range(20)], 80, 10)
    assert len(lines) == 10
    assert plain(lines[8]) == "… 13 more rows"


def test_without_clusters_it_says_so():
    assert "No clusters appear to be running." in output("--run-once")


def test_cache_that_is_not_shared_is_named(settings):
    settings.CACHES = {"default": {"BACKEND": "django.core.cache.backends.locmem.LocMemCache"}}
    assert "LocMemCache" in output("--run-once")
    assert "LocMemCache" in json.loads(output("--json"))["problems"][0]


def test_json_has_bytes():
    Stat(os.getpid(), "one", host=HERE, sentinel=os.getpid()).save()
    (found,) = json.loads(output("--json"))["clusters"]
    assert found["cluster_id"] == "one"
    assert found["sentinel"] > MEGABYTE


def test_missing_psutil_is_an_error_with_the_remedy(monkeypatch):
    monkeypatch.setattr(memory, "load", lambda path: None)
    with pytest.raises(CommandError, match=r"django-q-core\[process\]"):
        output("--run-once")
