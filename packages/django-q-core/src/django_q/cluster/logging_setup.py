"""Prepares logging in the processes of a cluster."""

from __future__ import annotations

import logging
from typing import TYPE_CHECKING, Final

from django_q.context import stamp_records
from django_q.humanhash import humanize
from django_q.log import JsonFormatter
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

    With `log_json`, it is shown as JSON, whatever the project configures.

    Args:
        settings: settings of the cluster.
        cluster_id: id of the cluster.
    """
    if settings.log_json:
        write_to_stderr(settings, JsonFormatter())
    elif not logger.hasHandlers():  # the site has not configured where the log goes
        write_to_stderr(settings, logging.Formatter(FORMAT, TIME_FORMAT))
    stamp_records(cluster=name_of(cluster_id), queue=settings.list_key)


def write_to_stderr(settings: ClusterSettings, formatter: logging.Formatter) -> None:
    """Let a handler on standard error be the only one of the log.

    Args:
        settings: settings with the minimum level.
        formatter: formatter of the handler.
    """
    handler = logging.StreamHandler()
    handler.setFormatter(formatter)
    logger.handlers = [handler]
    logger.setLevel(settings.log_level)
    logger.propagate = False
