"""The demo, run as in a new clone of the repository."""

from __future__ import annotations

import os
import re
import signal
import subprocess
import sys
from pathlib import Path
from urllib.request import urlopen

import psutil
import pytest
from django_q.testing import eventually

from .site import kill_all

RUN = Path(__file__).parents[2] / "docs" / "demo" / "run.py"


@pytest.fixture
def demo(tmp_path):
    """Start the demo with a folder for temporary files of its own; whatever is left of it is killed."""
    started = []

    def start(*arguments):
        process = subprocess.Popen(
            [sys.executable, "-u", str(RUN), *arguments],
            stdout=subprocess.PIPE,
            stderr=subprocess.STDOUT,
            text=True,
            encoding="utf-8",
            env={**os.environ, "TMPDIR": str(tmp_path), "PYTHONIOENCODING": "utf-8"},
            start_new_session=True,
        )
        started.append(process)
        return process

    yield start
    for process in started:
        process.kill()
        process.communicate()
    kill_all(processes_in(tmp_path))


def processes_in(folder):
    """Those that work in a folder: the demo's, the cluster's, the site's."""
    found = []
    for process in psutil.process_iter():
        try:
            if str(folder) in process.environ().get("DEMO_FOLDER", ""):
                found.append(process)
        except psutil.Error:
            continue
    return found


def read_until(process, words):
    """Return the output of a process, up to the line that contains some words."""
    lines = []
    for line in process.stdout:
        lines.append(line)
        if words in line:
            return "".join(lines)
    pytest.fail(f"the demo ended without {words!r}:\n{''.join(lines)}")


def cluster_of(text):
    """The cluster's outermost process."""
    return psutil.Process(int(re.search(r"qcluster, process (\d+)", text)[1]))


def test_demo_accounts_for_every_module(demo, tmp_path):
    process = demo()
    output, _ = process.communicate(timeout=150)
    assert process.returncode == 0, output
    sent, run, results = re.search(
        r"All accounted for: ([\d,]+) tasks sent, ([\d,]+) run, ([\d,]+) results", output
    ).groups()
    assert sent == run == results
    assert int(sent.replace(",", "")) > 500
    assert "None lost, none twice" in output
    assert "FileNotFoundError" in output
    assert "exit status 0" in output
    assert list(tmp_path.iterdir()) == []
    assert processes_in(tmp_path) == []


def test_demo_fails_when_its_cluster_dies(demo, tmp_path):
    process = demo()
    cluster = cluster_of(read_until(process, "files,"))
    cluster.kill()
    output, _ = process.communicate(timeout=60)
    assert process.returncode == 1, output
    assert "killed by SIGKILL" in output
    assert "Not all of" in output
    eventually(lambda: not processes_in(tmp_path) and not list(tmp_path.iterdir()), within=10)


@pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGTERM])
def test_interrupted_demo_leaves_nothing_behind(demo, tmp_path, number):
    process = demo()
    read_until(process, "files,")
    os.killpg(process.pid, number)
    output, _ = process.communicate(timeout=60)
    assert process.returncode == 130, output
    assert processes_in(tmp_path) == []
    assert list(tmp_path.iterdir()) == []


def test_killed_demo_leaves_nothing_behind(demo, tmp_path):
    process = demo()
    read_until(process, "files,")
    process.kill()
    eventually(lambda: not processes_in(tmp_path) and not list(tmp_path.iterdir()), within=30)


def test_serve_keeps_the_admin_up_until_ctrl_c(demo, tmp_path):
    process = demo("serve")
    output = read_until(process, "Ctrl-C stops")
    address = re.search(r"http://\S+", output)[0]
    assert "log in as demo with the password" in output
    with urlopen(address) as page:
        assert "Log in" in page.read().decode()
    os.killpg(process.pid, signal.SIGINT)
    output, _ = process.communicate(timeout=60)
    assert process.returncode == 0, output
    assert processes_in(tmp_path) == []
    assert list(tmp_path.iterdir()) == []
