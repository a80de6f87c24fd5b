"""Reads and writes the arguments of schedules as text. They are literals and never evaluated."""

from __future__ import annotations

import ast
from typing import TYPE_CHECKING, Any, Final

from django_q.exceptions import UnreadableArguments
from django_q.text import error_line

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping

UNREADABLE: Final = (ValueError, SyntaxError, TypeError, MemoryError, RecursionError)
"""Errors of the parser for a text that is no literal."""


def read_args(text: str | None) -> tuple[Any, ...]:
    """Return the positional arguments in a text such as `1, 2, 'John'` or `(1, 2)`; a single value is one argument.

    Raises:
        UnreadableArguments: the text contains other values than literals.
    """
    if not text or not text.strip():
        return ()
    try:
        value = ast.literal_eval(f"({text.strip()}\n)")
    except UNREADABLE as error:
        raise UnreadableArguments(
            f"{shorten(text)} cannot be read as arguments: write literals, such as 1, 2, 'John'."
        ) from error
    return value if isinstance(value, tuple) else (value,)


def read_kwargs(text: str | None) -> dict[str, Any]:
    """Return the keyword arguments in a text such as `x=1, y='John'` or `{'x': 1, 'y': 'John'}`.

    Raises:
        UnreadableArguments: the text contains other values than literals.
    """
    if not text or not text.strip():
        return {}
    try:
        return _read_dict(text) if text.lstrip().startswith("{") else _read_call(text)
    except UNREADABLE as error:
        raise UnreadableArguments(
            f"{shorten(text)} cannot be read as keyword arguments: write literals, such as x=1, y=2, name='John'."
        ) from error


def write_args(args: tuple[Any, ...]) -> str:
    """Return the text from which `read_args` reads the same arguments.

    Raises:
        UnreadableArguments: an argument is no literal.
    """
    return _checked(_repr(args), read_args)


def write_kwargs(kwargs: Mapping[str, Any]) -> str:
    """Return the text from which `read_kwargs` reads the same arguments.

    Raises:
        UnreadableArguments: an argument is no literal.
    """
    return _checked(_repr(dict(kwargs)), read_kwargs)


def shorten(text: str) -> str:
    """Return a text in quotes, truncated to 80 characters."""
    return repr(text if len(text) <= 80 else f"{text[:77]}…")


def _read_dict(text: str) -> dict[str, Any]:
    value = ast.literal_eval(text.strip())
    if not isinstance(value, dict) or not all(isinstance(key, str) for key in value):
        raise ValueError("not a dictionary with text keys")
    return value


def _read_call(text: str) -> dict[str, Any]:
    call = ast.parse(f"call({text.strip()}\n)", mode="eval").body
    # A text that closes the parenthesis itself is not parsed as one plain call.
    if not isinstance(call, ast.Call) or not isinstance(call.func, ast.Name) or call.args:
        raise ValueError("not a list of keyword arguments")
    names = [keyword.arg for keyword in call.keywords if keyword.arg is not None]
    if len(set(names)) < len(call.keywords):
        raise ValueError("a keyword is repeated or has no name")
    return {name: ast.literal_eval(keyword.value) for name, keyword in zip(names, call.keywords, strict=True)}


def _repr(value: object) -> str:
    try:
        return repr(value)
    except Exception as error:  # an object's own code may raise anything
        raise UnreadableArguments(
            f"An argument has no representation ({error_line(error)}): pass an id instead of an object."
        ) from error


def _checked(text: str, read: Callable[[str], object]) -> str:
    try:
        read(text)
    except UnreadableArguments as error:
        raise UnreadableArguments(
            f"{shorten(text)} cannot be stored as text: arguments of schedules are numbers, texts, None, True, False, "
            "and lists, tuples, dictionaries and sets of them; pass an id instead of an object."
        ) from error
    return text
