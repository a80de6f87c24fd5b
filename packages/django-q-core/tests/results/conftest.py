"""Outcomes to save."""

from __future__ import annotations

from datetime import timedelta
from itertools import count
from typing import TYPE_CHECKING, Any

import pytest
from django.utils import timezone
from django_q.outcome import Outcome, encode
from django_q.package import member_id, new_id
from django_q.settings import ClusterSettings

if TYPE_CHECKING:
    from collections.abc import Callable

numbers = count(1)
noon = timezone.now()


def outcome(result: object = None, **fields: Any) -> Outcome:
    """Make the outcome of a task: each stopped a second after the one before."""
    number = next(numbers)
    return Outcome(
        **{
            "id": new_id(),
            "name": f"task-{number}",
            "func": "math.copysign",
            "hook": None,
            "args": encode((number, -1)),
            "kwargs": encode({}),
            "result": encode(result),
            "group": None,
            "cluster": "default",
            "started": noon,
            "stopped": noon + timedelta(seconds=number),
            "success": True,
        }
        | fields
    )


def member(iter_id: str, index: int, total: int, result: object = None, **fields: Any) -> Outcome:
    """Make the outcome of an iter's member: a failure if its result is an exception."""
    if isinstance(result, Exception):
        result, fields = str(result), {"success": False} | fields
    fields = {"args": encode((index,)), "func": "math.floor", "cached": True} | fields
    return outcome(result, **{"id": member_id(iter_id, index), "group": iter_id, "iter_count": total} | fields)


@pytest.fixture(name="member")
def member_maker() -> Callable[..., Outcome]:
    """Make outcomes of members."""
    return member


@pytest.fixture(name="outcome")
def outcome_maker() -> Callable[..., Outcome]:
    """Make outcomes."""
    return outcome


@pytest.fixture
def settings_of() -> Callable[..., ClusterSettings]:
    """Make settings of a cluster."""
    return lambda **keys: ClusterSettings.from_mapping(keys)
