"""Prepares logging in the processes of a cluster."""

from __future__ import annotations

import logging
from typing import TYPE_CHECKING, Final

from django_q.context import stamp_records
from django_q.humanhash import humanize
from django_q.log.events import logger

if TYPE_CHECKING:
    from django_q.settings import ClusterSettings


FORMAT: Final = "%(asctime)s [Q] %(levelname)s %(message)s"
TIME_FORMAT: Final = "%H:%M:%S"


def name_of(cluster_id: str) -> str:
    """Return the readable name of a cluster.

    Args:
        cluster_id: hexadecimal, with or without dashes.
    """
    return humanize(cluster_id.replace("-", ""))


def set_up_logging(settings: ClusterSettings, cluster_id: str) -> None:
    """Show the log on the terminal by default, and add fields to the records of all handlers; forks inherit both.

    Args:
        settings: settings of the cluster.
        cluster_id: id of the cluster.
    """
    if not logger.hasHandlers():  # the site has not configured where the log goes
        handler = logging.StreamHandler()
        handler.setFormatter(logging.Formatter(FORMAT, TIME_FORMAT))
        logger.addHandler(handler)
        logger.setLevel(settings.log_level)
        logger.propagate = False
    stamp_records(cluster=name_of(cluster_id), queue=settings.list_key)
