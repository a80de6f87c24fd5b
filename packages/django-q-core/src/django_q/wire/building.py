"""Builds the package of a task from a call and the settings."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from django_q.wire.options import checked_func
from django_q.wire.package import TaskPackage, new_package

if TYPE_CHECKING:
    from collections.abc import Callable

    from django_q.settings import ClusterSettings


DEFAULTS = (("cached", "cached"), ("ack_failure", "ack_failures"), ("track", "track"))
"""Pairs of option and setting. An option that a call omits takes the value of its setting, if that is true."""


def build_package(
    func: str | Callable[..., Any],
    args: tuple[Any, ...],
    kwargs: dict[str, Any],
    options: dict[str, Any],
    settings: ClusterSettings,
) -> TaskPackage:
    """Build the package of a task.

    Args:
        func: the function, or its dotted path.
        args: its positional arguments.
        kwargs: its keyword arguments.
        options: valid options of the task; the defaults of the settings are added to it.
        settings: of the cluster.

    Raises:
        UnsendableTask: no other process can import the function.
    """
    func = checked_func(func)
    for option, setting in DEFAULTS:
        if option not in options and getattr(settings, setting):
            options[option] = getattr(settings, setting)
    return new_package(func, args, kwargs, name=options.pop("task_name", None), **options)
