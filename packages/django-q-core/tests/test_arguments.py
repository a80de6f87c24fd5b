from __future__ import annotations

from typing import Any

import pytest
from django_q.arguments import read_args, read_kwargs, write_args, write_kwargs
from django_q.exceptions import UnreadableArguments


@pytest.mark.parametrize(
    ("text", "args"),
    [
        (None, ()),
        (" ", ()),
        ("5", (5,)),
        ("'a'", ("a",)),
        ("1,", (1,)),
        ("1, 2, 'John'", (1, 2, "John")),
        ("(1, 2)", (1, 2)),
        ("[1, 2]", ([1, 2],)),
        ("{'x': 1}", ({"x": 1},)),
        (" 1,\n  2", (1, 2)),
        ("-1, None, True", (-1, None, True)),
    ],
)
def test_literals_are_arguments(text: str | None, args: tuple[Any, ...]) -> None:
    assert read_args(text) == args


@pytest.mark.parametrize(
    ("text", "kwargs"),
    [
        (None, {}),
        ("", {}),
        ("x=1, y=2, name='John'", {"x": 1, "y": 2, "name": "John"}),
        ("x=[1, {'a': (2,)}],\n y=None,", {"x": [1, {"a": (2,)}], "y": None}),
        ("{'x': 1, 'not a name': 2}", {"x": 1, "not a name": 2}),
        ("q_options={'group': 'a'}", {"q_options": {"group": "a"}}),
    ],
)
def test_calls_and_dictionaries_are_keyword_arguments(text: str | None, kwargs: dict[str, Any]) -> None:
    assert read_kwargs(text) == kwargs


@pytest.mark.parametrize("text", ["__import__('os')", "x", "1) + (2", "(", "f()", "lambda: 1", "\0", "(" * 300])
def test_nothing_is_evaluated_in_arguments(text: str) -> None:
    with pytest.raises(UnreadableArguments, match="cannot be read as arguments"):
        read_args(text)


@pytest.mark.parametrize(
    "text",
    [
        "x=__import__('os')",
        "x",
        "1",
        "x=1, x=2",
        "**{'x': 1}",
        "x=1)(y=2",
        "x=1) or dict(y=2",
        "{1: 2}",
        "{'x'}",
        "x=1 y",
    ],
)
def test_nothing_is_evaluated_in_keyword_arguments(text: str) -> None:
    with pytest.raises(UnreadableArguments, match="cannot be read as keyword arguments"):
        read_kwargs(text)


def test_written_arguments_can_be_read() -> None:
    assert read_args(write_args((1, "a", [None]))) == (1, "a", [None])
    assert read_args(write_args(((1, 2),))) == ((1, 2),)
    assert read_kwargs(write_kwargs({"x": {"y": 1.5}})) == {"x": {"y": 1.5}}


@pytest.mark.parametrize("value", [object(), float("nan"), print])
def test_objects_are_rejected(value: object) -> None:
    with pytest.raises(UnreadableArguments, match="pass an id instead"):
        write_args((value,))
