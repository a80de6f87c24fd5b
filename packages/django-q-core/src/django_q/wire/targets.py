"""Targets of commands: the tasks and groups that a package belongs to. It uses no model, for the sentinel."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, Final

from django_q.clock import in_project_time
from django_q.wire.package import is_member

if TYPE_CHECKING:
    from collections.abc import Mapping
    from datetime import datetime

TASK: Final = "task"
"""Kind of a target that is the id of a task or an iter."""

GROUP: Final = "group"
"""Kind of a target that is the label of a group."""


def targets_of(package: Mapping[str, Any]) -> list[tuple[str, str]]:
    """Return the kinds and targets of the commands that cancel a task."""
    group = package.get("group")
    targets = [(TASK, package["id"])]
    if group:
        targets.append((GROUP, group))
        if is_member(package.get("iter_count"), group):
            targets.append((TASK, group))
    return targets


def cancellable_since(package: Mapping[str, Any]) -> datetime:
    """Return the time from which commands cancel a task: when it was sent; for a link, when its chain was sent."""
    return in_project_time(package.get("chain_started") or package["started"])
