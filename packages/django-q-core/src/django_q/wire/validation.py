"""Packages that no cluster can read → errors that say why, at the call."""

from __future__ import annotations

import pickle
from importlib import import_module
from typing import TYPE_CHECKING, Any, Final

from django_q.exceptions import UnsendableTask
from django_q.functions import describe
from django_q.text import error_line, qualified_type_name
from django_q.wire.codec import PickleSerializer
from django_q.wire.package import link_of

if TYPE_CHECKING:
    from collections.abc import Iterator, Mapping

    from django_q.wire.package import TaskPackage

MAIN_MODULES: Final = ("__main__", "__mp_main__")
"""Names of the script that a process runs: in another process they are another script."""

_TEXT_OPCODES: Final = {"SHORT_BINUNICODE", "BINUNICODE", "BINUNICODE8"}
_MAIN_BYTES: Final = b"main__"
"""Common end of all `MAIN_MODULES`."""


def pickled(package: TaskPackage) -> bytes:
    """Pickle a package.

    Raises:
        UnsendableTask: something in it cannot be pickled; says what.
    """
    try:
        return PickleSerializer.dumps(package)
    except Exception as error:  # pickling runs the methods of whatever is inside
        raise UnsendableTask(complaint(package, error)) from error


def copy_of(package: TaskPackage, data: bytes) -> TaskPackage:
    """Return the copy of a package that a worker would get.

    Args:
        package: the task, for the error.
        data: its pickle.

    Raises:
        UnsendableTask: it cannot be unpickled.
    """
    try:
        copy: TaskPackage = PickleSerializer.loads(data)
    except Exception as error:  # unpickling runs the constructors of whatever is inside
        raise UnsendableTask(
            f"The task {describe(package['func'])} can be pickled, but not unpickled ({error_line(error)}): give plain "
            "values, or something to find them by."
        ) from error
    return copy


def refuse_main(package: TaskPackage, data: bytes) -> None:
    """Refuse what only the running script has: a cluster runs another one.

    Args:
        package: the task.
        data: its pickle.

    Raises:
        UnsendableTask: names the part that belongs to `__main__`.
    """
    for name, path in paths(package):
        if path.partition(".")[0] in MAIN_MODULES:
            raise UnsendableTask(_belongs_to_main(package, name, path))
    if _MAIN_BYTES in data and (found := main_global(data)):
        part = next((name for name, value in parts(package) if main_global(pickle.dumps(value, protocol=5))), "package")
        raise UnsendableTask(_belongs_to_main(package, part, found))


def _belongs_to_main(package: TaskPackage, part: str, path: str) -> str:
    return (
        f"The {part} of {describe(package['func'])} needs {path}, which belongs to the running script, so a cluster "
        "cannot import it: define it in a module."
    )


def paths(package: Mapping[str, Any]) -> Iterator[tuple[str, str]]:
    """Return the dotted paths that a package names, with what they are."""
    if isinstance(func := package["func"], str):
        yield "function", func
    if isinstance(hook := package.get("hook"), str):
        yield "option 'hook'", hook
    for index, link in enumerate(package.get("chain") or (), 2):
        func, _, kwargs = link_of(link)
        options = kwargs.get("q_options") or {}
        for name, path in paths({"func": func, "hook": options.get("hook")}):
            yield f"link {index}, {name}", path


def main_global(data: bytes) -> str | None:
    """Return the first function or class of `__main__` that a pickle names, without unpickling; None if there is none.

    Args:
        data: a pickle of protocol 4 or 5.
    """
    texts: list[str | None] = [None, None]  # the last two values on the stack; None is any value but a text
    memo: dict[Any, str | None] = {}
    for opcode, argument, _ in import_module("pickletools").genops(data):  # most processes never need it
        if opcode.name in _TEXT_OPCODES:
            texts = [texts[1], argument]
        elif opcode.name == "MEMOIZE":
            memo[len(memo)] = texts[1]
        elif opcode.name in ("BINGET", "LONG_BINGET"):
            texts = [texts[1], memo.get(argument)]
        elif opcode.name != "FRAME":
            if opcode.name == "STACK_GLOBAL" and texts[0] in MAIN_MODULES:
                return f"{texts[0]}.{texts[1]}"
            texts = [texts[1], None]
    return None


def complaint(package: Mapping[str, Any], error: Exception) -> str:
    """Name the part of a package that cannot be pickled."""
    for name, part in parts(package):
        try:
            pickle.dumps(part, protocol=pickle.HIGHEST_PROTOCOL)
        except Exception as why:  # noqa: BLE001 - pickling runs the methods of whatever is inside
            kind = qualified_type_name(part)
            return (
                f"The {name} of {describe(package['func'])} is a {kind}, which cannot be pickled ({error_line(why)}): "
                "give plain values, or something to find it by."
            )
    return f"The task {describe(package['func'])} cannot be pickled: {error_line(error)}"


def parts(package: Mapping[str, Any]) -> Iterator[tuple[str, Any]]:
    """Take a package apart, from what is most likely to be at fault."""
    yield "function", package["func"]
    for index, value in enumerate(package.get("args", ()), 1):
        yield f"argument {index}", value
    for name, value in package.get("kwargs", {}).items():
        yield f"argument {name!r}", value
    for index, link in enumerate(package.get("chain") or (), 2):
        for name, value in parts(dict(zip(("func", "args", "kwargs"), link_of(link), strict=True))):
            yield f"link {index}, {name}", value
    for name, value in package.items():
        if name not in ("args", "kwargs", "chain"):
            yield f"option {name!r}", value
