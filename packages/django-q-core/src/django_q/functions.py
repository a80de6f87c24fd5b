"""Functions and their dotted paths."""

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
    """Name a function as its Task shows it: the dotted path where there is one."""
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
        UnknownFunction: there is nothing callable of that name; says what was tried.
    """
    if not isinstance(func, str):
        return func
    if (known := _KNOWN.get(func)) is not None:
        return known
    if len(_KNOWN) >= MAX_KNOWN_FUNCTIONS:
        _KNOWN.clear()
    return _KNOWN.setdefault(func, _locate(func))


def is_known(path: str) -> bool:
    """Return whether a function was resolved before in this process, so that nothing needs to be imported."""
    return path in _KNOWN


_KNOWN: dict[str, Callable[..., Any]] = {}


def _locate(path: str) -> Callable[..., Any]:
    found = _find(path)
    if found is None:
        raise UnknownFunction(
            f"Function {path!r} is not defined. {_how_far(path)} Deploy the code that defines it where the cluster "
            "runs, restart the cluster, or correct the path."
        )
    if not callable(found):
        raise UnknownFunction(f"{path!r} is a {type(found).__name__} and cannot be called: name a function.")
    return found


def _find(path: str) -> Any:
    """Return the object of a path: a module, a member of one, or a built-in; None if there is none."""
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
    """Return the module of that name on the way to *path*; None if there is none."""
    try:
        return import_module(name)
    except BaseException as error:  # whatever a module does when it is imported, it is the task's failure
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
