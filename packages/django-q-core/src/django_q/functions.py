"""Finds functions by their dotted paths, and paths by functions."""

from __future__ import annotations

import builtins
import sys
from importlib import import_module
from typing import TYPE_CHECKING, Any, Final

from django_q import text
from django_q.exceptions import TimeoutException, UnknownFunction

if TYPE_CHECKING:
    from collections.abc import Callable


def describe(func: object) -> str:
    """Return the text by which a `Task` names a function: its dotted path, or else its text form."""
    if type(func) is str:
        return func
    try:
        return _path_of(func) or text.text_of(func)
    except Exception:  # noqa: BLE001 - the object's own code may raise anything
        return text.text_of(func)


def _path_of(func: object) -> str | None:
    """Return the dotted path of a function; None if it has none."""
    if isinstance(func, str):
        return str.__str__(func)
    name = getattr(func, "__qualname__", None) or getattr(func, "__name__", None)
    module = getattr(func, "__module__", None)
    owner = getattr(func, "__self__", None)
    if isinstance(owner, type):
        return f"{owner.__module__}.{owner.__qualname__}.{getattr(func, '__name__', '')}"
    return f"{module}.{name}" if module and name else None


MAX_KNOWN_FUNCTIONS: Final = 1024
"""Maximum number of functions whose paths a process remembers."""


def resolve(func: str | Callable[..., Any]) -> Callable[..., Any]:
    """Find the function that a package names.

    Args:
        func: a dotted path, or the callable itself.

    Raises:
        UnknownFunction: nothing callable has this path; the message names the part that exists.
    """
    if not isinstance(func, str):
        return func
    if (known := _KNOWN.get(func)) is not None:
        return known
    if len(_KNOWN) >= MAX_KNOWN_FUNCTIONS:
        _KNOWN.clear()
    return _KNOWN.setdefault(func, _locate(func))


def is_known(path: str) -> bool:
    """Return True if this process has resolved a path before, so that `resolve` imports nothing."""
    return path in _KNOWN


_KNOWN: dict[str, Callable[..., Any]] = {}


def locate(path: str) -> Any:
    """Find the object that a dotted path names, callable or not.

    Args:
        path: the dotted path.

    Raises:
        UnknownFunction: nothing has this path; the message names the part that exists.
    """
    found = _find(path)
    if found is None:
        raise UnknownFunction(
            f"Function {path!r} is not defined. {_how_far(path)} Deploy the code that defines it where the cluster "
            "runs, restart the cluster, or correct the path."
        )
    return found


def _locate(path: str) -> Callable[..., Any]:
    found = locate(path)
    if not callable(found):
        raise UnknownFunction(f"{path!r} is a {type(found).__name__} and cannot be called: name a function.")
    return found


def _find(path: str) -> Any:
    """Return the object with this path: a module, an object in a module, or a built-in; None if there is none."""
    names = [name for name in path.split(".") if name]
    found: Any = builtins
    holds_modules = True
    for length, name in enumerate(names, 1):
        module = _module(path, ".".join(names[:length])) if holds_modules else None
        holds_modules = hasattr(module, "__path__")
        try:
            found = getattr(found, name) if module is None else module
        except AttributeError:
            return None
    return found


def _module(path: str, name: str) -> Any:
    """Import the module *name*, a part of *path*; return None if it does not exist."""
    try:
        return import_module(name)
    except BaseException as error:  # any error of an import is a failure of the task
        if isinstance(error, ImportError) and error.name == name and name not in sys.modules:
            return None
        if isinstance(error, TimeoutException):
            raise
        raise UnknownFunction(f"Function {path!r} cannot be imported: {text.one_line(error)}") from error


def _how_far(path: str) -> str:
    parts = path.split(".")
    for length in range(len(parts) - 1, 0, -1):
        if _find(".".join(parts[:length])) is not None:
            return f"{'.'.join(parts[:length])!r} exists, but has no {parts[length]!r}."
    return f"No module named {parts[0]!r}."
