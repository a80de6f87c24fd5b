"""Hooks: what is called with a task once it is finished."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from django_q import reporters
from django_q.conf import logger
from django_q.execution import resolve
from django_q.package import describe

if TYPE_CHECKING:
    from collections.abc import Callable

    from django_q.models import Task
    from django_q.settings import ClusterSettings


def run_hook(hook: str | Callable[[Task], Any], task: Task, settings: ClusterSettings | None = None) -> bool:
    """Call a hook with its finished task; whatever it does, the task's outcome stands.

    Args:
        hook: a dotted path, or the callable itself.
        task: saved or not.
        settings: whose error reporters are told of a failure; None means the settings of this moment.

    Returns:
        Whether the hook returned; what it raised is logged and reported.
    """
    try:
        resolve(hook)(task)
    except (Exception, SystemExit) as error:  # noqa: BLE001 - whatever it raises; a timeout is a SystemExit
        logger.exception("Hook '%s' of %s (%s) failed: %s", describe(hook), task.name, task.id, error)
        reporters.report(error, settings)
        return False
    return True


def call_hook(sender: object, instance: Task, **kwargs: Any) -> None:
    """Call the hook of a saved task: the old receiver, for code that calls it by itself."""
    if instance.hook:
        run_hook(instance.hook, instance)
