"""Arguments are the values that a worker reads from JSON."""

from __future__ import annotations

import enum
import json
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

api = pytest.importorskip("django_q.django_tasks.api", reason="Django 5.2 needs django-tasks", exc_type=ImportError)


class Suit(enum.StrEnum):
    """A text with a type of the project."""

    CLUBS = "clubs"


class Rank(enum.IntEnum):
    """A number with a type of the project."""

    ACE = 1


PLAIN = st.none() | st.booleans() | st.integers() | st.floats(allow_nan=False) | st.text()
VALUES = st.recursive(
    PLAIN | st.sampled_from([Suit.CLUBS, Rank.ACE]),
    lambda inner: st.lists(inner) | st.tuples(inner) | st.dictionaries(st.text() | st.integers(), inner),
    max_leaves=5,
)


@given(st.lists(VALUES, max_size=4), st.dictionaries(st.text(), VALUES, max_size=3))
def test_arguments_are_read_as_from_json(args: list[Any], kwargs: dict[str, Any]) -> None:
    found = api.arguments_as_json(args, kwargs)
    assert found == tuple(json.loads(json.dumps([args, kwargs])))
    assert [type(each) for each in found[0]] == [type(each) for each in json.loads(json.dumps(args))]


def test_arguments_are_copies() -> None:
    args, kwargs = [1], {"text": "x"}
    copies = api.arguments_as_json(args, kwargs)
    args.append(2)
    kwargs.clear()
    assert copies == ([1], {"text": "x"})
