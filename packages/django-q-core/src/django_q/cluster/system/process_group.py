"""The process group of a worker: the worker and the programs that its tasks started."""

from __future__ import annotations

import multiprocessing
import os
import signal
from contextlib import suppress


def lead_group() -> bool:
    """Make the calling process the leader of a new process group.

    The group is in the background of its terminal. Without a signal handler a read from it would stop the process.

    Returns:
        True if the process leads a group.
    """
    with suppress(PermissionError):  # the leader of a session leads a group already
        os.setpgid(0, 0)
    for number in (signal.SIGTTIN, signal.SIGTTOU):
        signal.signal(number, signal.SIG_IGN)
    return leads_group()


def leads_group() -> bool:
    """Return True if the calling process leads its process group."""
    return os.getpgrp() == os.getpid()


def kill_group(leader: int) -> None:
    """Send SIGKILL to a whole process group.

    Call it before the leader is reaped: until then the system gives its id to no other group.

    Args:
        leader: process id of the leader; a process that leads no group is not touched.
    """
    with suppress(ProcessLookupError, PermissionError):
        os.killpg(leader, signal.SIGKILL)


def kill_other_members() -> bool:
    """Send SIGKILL to all processes of the caller's group but the caller.

    The caller joins its parent's group for a moment, so the system kills the others at once: none can fork meanwhile.

    Returns:
        False if the system does not allow that, for instance because a task has made this process lead a session.
    """
    if not leads_group():
        return False
    try:
        os.setpgid(0, os.getpgid(os.getppid()))
    except OSError:
        return False
    try:
        kill_group(os.getpid())
    finally:
        os.setpgid(0, 0)
    return True


def kill_children() -> None:
    """End the `multiprocessing` children of the calling process, which Python would wait for when it exits."""
    for child in multiprocessing.active_children():
        child.kill()


def has_exited(pid: int) -> bool | None:
    """Look whether a child has ended, without reaping it.

    Returns:
        None if this cannot be known: the process is no child, or the system has no `waitid`.
    """
    try:
        return os.waitid(os.P_PID, pid, os.WEXITED | os.WNOHANG | os.WNOWAIT) is not None
    except (AttributeError, ChildProcessError):
        return None
