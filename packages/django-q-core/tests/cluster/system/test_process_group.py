"""Programs that a task has started end with it, and no other programs do."""

from __future__ import annotations

import multiprocessing
import os
import signal
import subprocess
import sys
from contextlib import suppress
from pathlib import Path
from typing import TYPE_CHECKING

import pytest
from django_q.cluster.system.process_group import has_exited, kill_group, kill_other_members, lead_group
from django_q.testing.eventually import eventually

if TYPE_CHECKING:
    from collections.abc import Callable

FORK = multiprocessing.get_context("fork")

SLEEPER = [sys.executable, "-c", "import time; time.sleep(60)"]
FAMILY = [sys.executable, "-c", f"import subprocess; subprocess.run({SLEEPER!r})"]
"""A program that has started another one."""


def in_a_worker(work: Callable[..., None], *more: object) -> tuple[multiprocessing.Process, list[int]]:
    """Run a function in a process, and return the process and the ids that it sends."""
    hear, say = FORK.Pipe(duplex=False)
    process = FORK.Process(target=work, args=(say, *more))
    process.start()
    say.close()
    return process, hear.recv()


def runs(pid: int) -> bool:
    """Return True if a process exists and is no zombie."""
    try:
        return Path(f"/proc/{pid}/stat").read_bytes().rpartition(b")")[2].split()[0] not in b"ZX"
    except OSError:
        return False


pytestmark = pytest.mark.skipif(sys.platform != "linux", reason="looks into /proc")


def members(group: int) -> list[int]:
    """Return the running processes of a group."""
    pids = [int(entry.name) for entry in Path("/proc").iterdir() if entry.name.isdecimal()]
    found = []
    for pid in pids:
        with suppress(ProcessLookupError):
            if os.getpgid(pid) == group and runs(pid):
                found.append(pid)
    return found


def starts_a_family(say) -> None:
    lead_group()
    subprocess.Popen(FAMILY)
    eventually(lambda: len(members(os.getpid())) == 3)
    say.send(members(os.getpid()))
    signal.pause()


def test_group_ends_with_its_worker_before_that_is_reaped():
    worker, family = in_a_worker(starts_a_family)
    assert len(family) == 3
    worker.kill()
    eventually(lambda: has_exited(worker.pid))
    assert len(members(worker.pid)) == 2
    kill_group(worker.pid)
    eventually(lambda: not any(runs(pid) for pid in family))
    assert worker.is_alive() is False, "no other process has reaped it"


def outlives_its_family(say) -> None:
    lead_group()
    subprocess.Popen(FAMILY)
    child = FORK.Process(target=signal.pause)
    child.start()
    eventually(lambda: len(members(os.getpid())) == 4)
    family = members(os.getpid())
    done = kill_other_members()
    eventually(lambda: members(os.getpid()) == [os.getpid()])
    again = kill_other_members()  # without members
    say.send([int(done), int(again), os.getpgrp(), os.getpid(), *family])
    os._exit(0)


def test_worker_ends_all_others_of_its_group_and_still_leads_it():
    worker, (done, again, group, pid, *family) = in_a_worker(outlives_its_family)
    worker.join()
    assert (done, again) == (1, 1)
    assert group == pid
    assert worker.exitcode == 0
    assert len(family) == 4
    assert not any(runs(each) for each in family)


def leads_a_session(say) -> None:
    os.setsid()
    say.send([int(lead_group()), int(kill_other_members())])


def test_leader_of_a_session_cannot_kill_other_members():
    worker, told = in_a_worker(leads_a_session)
    worker.join()
    assert told == [1, 0]


def leads_nothing(say) -> None:
    say.send([int(kill_other_members())])


def test_process_that_leads_no_group_kills_no_other():
    worker, told = in_a_worker(leads_nothing)
    worker.join()
    assert told == [0]
    kill_group(worker.pid)


def test_exit_of_a_foreign_process_is_unknown():
    assert has_exited(os.getppid()) is None
