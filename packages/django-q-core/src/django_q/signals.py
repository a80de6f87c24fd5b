"""What Django Q says about its tasks while it works."""

from __future__ import annotations

from typing import Any, Final

from django.dispatch import Signal

from django_q.functions import describe
from django_q.log import logger
from django_q.old_names import resolver

SENDER: Final = "django_q"
"""Who sends all of these signals."""

pre_enqueue: Final = Signal()
"""A task is about to be queued. `task`: its package, a dict that may be changed. In the process of the sender."""

post_spawn: Final = Signal()
"""A worker process has started. `proc_name`: its name. In that process."""

pre_execute: Final = Signal()
"""A task is about to run. `func`: the callable; `task`: its package. In the worker."""

post_execute_in_worker: Final = Signal()
"""A task has run. `func`: as it was given; `task`: its package, with `result` and `success`. In the worker."""

post_execute: Final = Signal()
"""A task is saved, and acknowledged afterwards. `task`: its package, with `result` and `success`. In a worker."""


def emit(signal: Signal, **arguments: Any) -> None:
    """Tell every receiver; what one of them raises is logged, and harms neither the task nor the other receivers."""
    if not signal.receivers:
        return
    try:
        responses = signal.send_robust(sender=SENDER, **arguments)
    except Exception as error:  # noqa: BLE001 - Django fails to log receivers without a __qualname__, as partials are
        logger.exception("A receiver raised %r; the task goes on.", error.__context__ or error)
        return
    for receiver, response in responses:
        if isinstance(response, Exception):
            logger.error("Receiver %s raised %r; the task goes on.", describe(receiver), response, exc_info=response)


def has_receivers(signal: Signal) -> bool:
    """Does any receiver listen?"""
    return bool(signal.receivers) and signal.has_listeners(SENDER)


__getattr__ = resolver(__name__)
