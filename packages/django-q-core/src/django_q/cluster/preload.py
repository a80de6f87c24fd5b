"""Imports modules and fills caches before the first fork, so that the processes of a cluster share this memory."""

from __future__ import annotations

import gc
from contextlib import suppress
from functools import cache
from importlib import import_module
from typing import TYPE_CHECKING

from django_q.brokers import broker_class
from django_q.cluster.system.title import prepare_title
from django_q.reporters import REPORTERS

from .pool import MONITOR, PUSHER, SCHEDULER, WORKER
from .process import class_of

if TYPE_CHECKING:
    from django_q.settings import ClusterSettings

PRELOADED_MODULES = ("django.db.models.sql.compiler", "encodings.idna")
"""Modules that each process would import after the fork: for the first query, and for the look-up of a host."""


@cache
def preload(settings: ClusterSettings) -> None:
    """Import modules and fill caches, once for equal settings. It also shortens the start of the processes.

    Args:
        settings: settings of the cluster.
    """
    for role in (WORKER, PUSHER, MONITOR, SCHEDULER):
        class_of(role.path).prepare()
    for module in PRELOADED_MODULES:
        import_module(module)
    broker_class(settings).prepare(settings)
    for name in settings.error_reporter:
        with suppress(Exception, SystemExit):  # each process that needs the reporter logs why there is none
            REPORTERS.load(name)
    prepare_title()
    import_module("django_q.cluster.rehearsal").rehearse(settings)  # its models require that Django is set up
    gc.collect()
    gc.freeze()  # otherwise the collector would write to every shared page, and so copy it
