"""Signals that Django Q sends about its tasks."""

from __future__ import annotations

from typing import Any, Final

from django.dispatch import Signal

from django_q.log import messages as log
from django_q.old_names import resolver

SENDER: Final = "django_q"
"""Sender of all signals."""

pre_enqueue: Final = Signal()
"""Sent before a task is queued, in the process that sends it. `task`: its package, a dict that may be changed."""

post_spawn: Final = Signal()
"""Sent after a worker process has started, in that process. `proc_name`: its name."""

pre_execute: Final = Signal()
"""Sent before a task is executed, in the worker. `func`: the callable; `task`: its package."""

post_execute_in_worker: Final = Signal()
"""Sent after a task is executed, in its worker.

`func`: the function as it was sent; `task`: its package, with `result` and `success`."""

post_execute: Final = Signal()
"""Sent after a task is saved and before it is acknowledged, in a worker.

`task`: its package, with `result` and `success`."""


def emit(signal: Signal, *, sender: object = SENDER, **arguments: Any) -> None:
    """Send a signal to all receivers. An exception of one is logged, and affects neither the task nor other receivers.

    Args:
        signal: the signal.
        sender: its sender.
        **arguments: its arguments.
    """
    if not signal.receivers:
        return
    try:
        responses = signal.send_robust(sender=sender, **arguments)
    except Exception as error:  # noqa: BLE001 - Django cannot log receivers without a __qualname__, such as partials
        log.receiver.failed(error, raised=error.__context__)
        return
    for receiver, response in responses:
        if isinstance(response, Exception):
            log.receiver.failed(response, receiver)


def has_receivers(signal: Signal) -> bool:
    """Return True if a signal has receivers."""
    return bool(signal.receivers) and signal.has_listeners(SENDER)


__getattr__ = resolver(__name__)
