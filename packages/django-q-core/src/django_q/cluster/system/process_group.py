"""Process group of a worker: the worker and the programs that its tasks have started."""

from __future__ import annotations

import multiprocessing
import os
import signal
from contextlib import suppress


def lead_group() -> bool:
    """Make the calling process the leader of a new process group.

    The group is in the background of its terminal. A read from the terminal would stop the process, so the signals are
    ignored.

    Returns:
        True if the process leads a group.
    """
    with suppress(PermissionError):  # the leader of a session already leads a group
        os.setpgid(0, 0)
    for number in (signal.SIGTTIN, signal.SIGTTOU):
        signal.signal(number, signal.SIG_IGN)
    return leads_group()


def leads_group() -> bool:
    """Return True if the calling process leads its process group."""
    return os.getpgrp() == os.getpid()


def kill_group(leader: int) -> None:
    """Send SIGKILL to a whole process group.

    Call it before the leader is reaped: until then, the system does not reuse its id.

    Args:
        leader: process id of the leader. Nothing happens if the process leads no group.
    """
    with suppress(ProcessLookupError, PermissionError):
        os.killpg(leader, signal.SIGKILL)


def kill_other_members() -> bool:
    """Send SIGKILL to all processes of the caller's group except the caller.

    Meanwhile, the caller joins its parent's group. One system call kills all others, so that none of them can fork.

    Returns:
        False if the system does not allow it, for instance because a task has made this process lead a session.
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
    """Kill the `multiprocessing` children of the calling process. Python would wait for them at exit."""
    for child in multiprocessing.active_children():
        child.kill()


def has_exited(pid: int) -> bool | None:
    """Check if a child has ended, without reaping it.

    Args:
        pid: process id of the child.

    Returns:
        True if it has ended; None if this cannot be known, because it is no child or the system has no `waitid`.
    """
    try:
        return os.waitid(os.P_PID, pid, os.WEXITED | os.WNOHANG | os.WNOWAIT) is not None
    except (AttributeError, ChildProcessError):
        return None
