"""Builds the package of a task from a call and the settings."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from django_q.wire.options import checked_func
from django_q.wire.package import TaskPackage, new_package

if TYPE_CHECKING:
    from collections.abc import Callable

    from django_q.settings import ClusterSettings


DEFAULTS = (("cached", "cached"), ("ack_failure", "ack_failures"))
"""Options that take the value of a setting when a call does not give them, and only if the setting was given."""


def build_package(
    func: str | Callable[..., Any],
    args: tuple[Any, ...],
    kwargs: dict[str, Any],
    options: dict[str, Any],
    settings: ClusterSettings,
) -> TaskPackage:
    """Return a package of valid options, with those that the settings give to all tasks."""
    func = checked_func(func)
    for option, setting in DEFAULTS:
        if option not in options and getattr(settings, setting):
            options[option] = getattr(settings, setting)
    return new_package(func, args, kwargs, name=options.pop("task_name", None), **options)
