"""Runs hooks: functions that are called with a finished task."""

from __future__ import annotations

import inspect
from typing import TYPE_CHECKING, Any

from django_q import reporters
from django_q.execution.coroutines import run_coroutine
from django_q.functions import resolve
from django_q.log import messages as log

if TYPE_CHECKING:
    from collections.abc import Callable

    from django_q.models import Task
    from django_q.settings import ClusterSettings


def run_hook(hook: str | Callable[[Task], Any], task: Task, settings: ClusterSettings | None = None) -> bool:
    """Call a hook with its finished task, and await it if it is a coroutine function.

    Args:
        hook: the dotted path, or the callable itself.
        task: the finished task, saved or not.
        settings: of the cluster, for its error reporters; None means the current settings.

    Returns:
        True if the hook returned. Its exceptions are logged and reported, and do not change the outcome of the task.
    """
    try:
        result = resolve(hook)(task)
        if inspect.iscoroutine(result):
            run_coroutine(result)
    except BaseException as error:  # noqa: BLE001 - hooks are the project's code; a timeout is a SystemExit
        log.hook.failed(hook, task, error)
        reporters.report(error, settings)
        return False
    return True


def call_hook(sender: object, instance: Task, **kwargs: Any) -> None:
    """Call the hook of a saved task. In the public editions this is a receiver, which projects call directly, too."""
    if instance.hook:
        run_hook(instance.hook, instance)
