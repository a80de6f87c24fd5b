"""Builds the package of the chain link that follows a finished one."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from django_q.text import bounded, one_line
from django_q.wire.ids import next_id
from django_q.wire.option_values import LABEL_CHARACTERS
from django_q.wire.options import link_options
from django_q.wire.package import INHERITED_OPTIONS, link_of, new_package

if TYPE_CHECKING:
    from collections.abc import Mapping

    from django_q.wire.package import TaskPackage


def next_link(finished: dict[str, Any]) -> TaskPackage:
    """Build the package of the chain link that follows a finished one.

    Its id is derived from the id of the finished link, so that a link that is sent twice is one task. Options that its
    sender did not validate are normalised. Invalid values stay, so that the link's own task fails.

    Raises:
        TypeError: the chain contains no valid link.
    """
    first, *rest = finished["chain"]
    func, args, kwargs = link_of(first)
    options = link_options(kwargs) | {key: finished[key] for key in INHERITED_OPTIONS if key in finished}
    options |= {"chain": rest or None, "name": options.pop("task_name", None)}
    link = new_package(func, args, kwargs, task_id=next_id(finished["id"]), **options)
    link["chain_started"] = finished.get("chain_started") or finished["started"]
    return link


def unusable_link(finished: Mapping[str, Any]) -> TaskPackage:
    """Build a package for a link that cannot be read.

    The text of the link becomes its function, which no worker finds: the task fails.
    """
    options = {key: finished[key] for key in INHERITED_OPTIONS if key in finished}
    unusable = bounded(one_line(finished["chain"]), LABEL_CHARACTERS)
    return new_package(unusable, task_id=next_id(finished["id"]), **options)
