"""Error reporter for Sentry."""

from __future__ import annotations

import time
from multiprocessing import current_process
from typing import TYPE_CHECKING, Any, Final
from uuid import uuid4

import sentry_sdk
from django.utils.text import slugify
from django_q import signals
from django_q.reporters import task_details
from sentry_sdk.crons import capture_checkin
from sentry_sdk.integrations.logging import ignore_logger

if TYPE_CHECKING:
    from collections.abc import Collection, Mapping
    from contextlib import AbstractContextManager

OWN_LOGGER: Final = "django-q"
"""Logger of Django Q. Sentry would make a second event of the line about a failure."""

CONTEXT: Final = "Django Q"
"""Name of the section of an event that describes the task."""


class Sentry:
    """Sends the exception of each failed attempt to Sentry, with its task.

    If the project has initialised `sentry_sdk`, its client is used, and the options of `sentry_sdk.init` are ignored.

    Args:
        check_ins: schedules whose tasks send check-ins to a monitor of Sentry: True for all of them, or their names. A
            dictionary also gives the slug of each monitor, which otherwise follows from the name.
        **options: options of `sentry_sdk.init`, such as `dsn` and `environment`.
    """

    def __init__(self, *, check_ins: bool | Collection[str] | Mapping[str, str] = (), **options: Any) -> None:
        if not sentry_sdk.is_initialized():
            sentry_sdk.init(**options)
        ignore_logger(OWN_LOGGER)
        self.check_ins = check_ins
        self._scope: AbstractContextManager[Any] | None = None
        self._check_in: tuple[str, str, float] | None = None
        signals.pre_execute.connect(self._task_begins)
        signals.post_execute_in_worker.connect(self._task_ends)

    def report(self) -> None:
        """Send the exception that is being handled, with the current task."""
        details = task_details()
        with sentry_sdk.new_scope() as scope:
            scope.set_tag("django_q.process", current_process().name)
            if details is not None:
                scope.set_transaction_name(details["function"])
                scope.set_tag("django_q.queue", details["queue"])
                scope.set_tag("django_q.task", details["name"])
                scope.set_context(CONTEXT, {name: value for name, value in details.items() if name != "arguments"})
                scope.set_extra("arguments", details["arguments"])
            sentry_sdk.capture_exception()

    def flush(self, seconds: float) -> None:
        """Wait until all events are sent, for at most *seconds*."""
        sentry_sdk.flush(timeout=seconds)

    def _task_begins(self, task: Mapping[str, Any], **_: Any) -> None:
        """Give a task a scope of its own, so that its events have no breadcrumbs of other tasks."""
        self._leave_scope()
        self._scope = sentry_sdk.isolation_scope()
        self._scope.__enter__().clear_breadcrumbs()
        self._check_in = None
        if (slug := self._monitor_of(task)) is not None:
            self._check_in = slug, uuid4().hex, time.monotonic()
            capture_checkin(slug, self._check_in[1], "in_progress")

    def _task_ends(self, task: Mapping[str, Any], **_: Any) -> None:
        if self._check_in is not None:
            slug, check_in, began = self._check_in
            status = "ok" if task["success"] else "error"
            capture_checkin(slug, check_in, status, duration=time.monotonic() - began)
            self._check_in = None
        self._leave_scope()

    def _leave_scope(self) -> None:
        if self._scope is not None:
            self._scope.__exit__(None, None, None)
            self._scope = None

    def _monitor_of(self, task: Mapping[str, Any]) -> str | None:
        """Return the slug of the monitor of a task's schedule, whose name is the group; None if it has none."""
        name = task.get("group")
        if not self.check_ins or not name or not task.get("schedule"):
            return None
        if self.check_ins is True:
            return slugify(name)
        if name not in self.check_ins:
            return None
        return self.check_ins[name] if isinstance(self.check_ins, dict) else slugify(name)
