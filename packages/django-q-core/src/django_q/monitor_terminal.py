"""Functions that show clusters in a terminal, under their old names."""

from __future__ import annotations

import sys
from typing import TYPE_CHECKING

from django.core.management import call_command

from django_q.brokers import get_broker
from django_q.old_names import load
from django_q.terminal.snapshot import clusters_of

if TYPE_CHECKING:
    from django_q.brokers import Broker

MEGABYTE_BYTES = 2**20


def monitor(run_once: bool = False, broker: Broker | None = None) -> None:
    """Show the clusters until `q` is pressed, as `manage.py qmonitor`.

    Args:
        run_once: True to print one screen.
        broker: not used; the clusters are those of the settings.
    """
    call_command("qmonitor", run_once=run_once)


def info(broker: Broker | None = None) -> None:
    """Print a summary of the clusters, as `manage.py qinfo`.

    Args:
        broker: not used; the clusters are those of the settings.
    """
    call_command("qinfo")


def memory(run_once: bool = False, workers: bool = False, broker: Broker | None = None) -> None:
    """Show the memory of the clusters until `q` is pressed, as `manage.py qmemory`.

    Args:
        run_once: True to print one screen.
        workers: True to show each worker, too.
        broker: not used; the clusters are those of the settings.
    """
    call_command("qmemory", run_once=run_once, workers=workers)


def get_ids() -> bool:
    """Print the ids of running clusters, as `manage.py qinfo --ids`.

    Returns:
        True if there are any.
    """
    found = bool(clusters_of(get_broker()))
    call_command("qinfo", ids=True, stdout=sys.stdout)
    return found


def get_process_mb(pid: int) -> float:
    """Return the memory of a process in megabytes.

    Args:
        pid: id of the process.

    Returns:
        Its resident set; 0 if it has ended, or if psutil is not installed.
    """
    psutil = load("psutil")
    if psutil is None:
        return 0.0
    try:
        return round(psutil.Process(pid).memory_info().rss / MEGABYTE_BYTES, 2)
    except psutil.NoSuchProcess:
        return 0.0
