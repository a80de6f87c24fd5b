"""Error reporter for Rollbar."""

from __future__ import annotations

import threading
from multiprocessing import current_process
from typing import Any

import rollbar
from django_q.reporters import task_details


class Rollbar:
    """Sends the exception of each failed attempt to Rollbar, with its task.

    If the project has initialised `rollbar`, its settings are used, and the options are ignored.

    Args:
        **options: arguments of `rollbar.init`: `access_token`, `environment` and settings of `rollbar`.
    """

    def __init__(self, **options: Any) -> None:
        if not rollbar.SETTINGS.get("access_token"):
            rollbar.init(**options)

    def report(self) -> None:
        """Send the exception that is being handled, with the current task."""
        details = task_details()
        extra = {"process": current_process().name, **({"task": details} if details else {})}
        payload = {"context": details["function"]} if details else {}
        rollbar.report_exc_info(extra_data=extra, payload_data=payload)

    def flush(self, seconds: float) -> None:
        """Wait until all reports are sent, for at most *seconds*. `rollbar.wait` itself has no limit."""
        waiting = threading.Thread(target=rollbar.wait, daemon=True)
        waiting.start()
        waiting.join(seconds)
