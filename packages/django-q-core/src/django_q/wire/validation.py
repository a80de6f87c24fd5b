"""Validates a package before it is sent: raises `UnsendableTask` if no cluster could read it."""

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
"""Module names of the script that a process runs. In another process, they name another script."""

_TEXT_OPCODES: Final = {"SHORT_BINUNICODE", "BINUNICODE", "BINUNICODE8"}
_MAIN_BYTES: Final = b"main__"
"""Common end of all `MAIN_MODULES`."""


def pickled(package: TaskPackage) -> bytes:
    """Pickle a package.

    Raises:
        UnsendableTask: a part of it cannot be pickled; the message names it.
    """
    try:
        return PickleSerializer.dumps(package)
    except Exception as error:  # pickling runs methods of the project
        raise UnsendableTask(pickling_message(package, error)) from error


def copy_of(package: TaskPackage, data: bytes) -> TaskPackage:
    """Return the copy of a package that a worker would get.

    Args:
        package: the package, for the error.
        data: its pickle.

    Raises:
        UnsendableTask: the pickle cannot be loaded.
    """
    try:
        copy: TaskPackage = PickleSerializer.loads(data)
    except Exception as error:  # unpickling runs constructors of the project
        raise UnsendableTask(
            f"The task {describe(package['func'])} can be pickled, but not unpickled ({error_line(error)}): give plain "
            "values, or an id with which the function finds them."
        ) from error
    return copy


def refuse_main(package: TaskPackage, data: bytes) -> None:
    """Check that a package needs no function or class of the running script, which a cluster does not run.

    Args:
        package: the package.
        data: its pickle.

    Raises:
        UnsendableTask: a part belongs to `__main__`; the message names it.
    """
    if _MAIN_BYTES not in data:
        return
    for name, path in paths(package):
        if path.partition(".")[0] in MAIN_MODULES:
            raise UnsendableTask(_belongs_to_main(package, name, path))
    if found := main_global(data):
        part = next((name for name, value in parts(package) if main_global(pickle.dumps(value, protocol=5))), "package")
        raise UnsendableTask(_belongs_to_main(package, part, found))


def _belongs_to_main(package: TaskPackage, part: str, path: str) -> str:
    return (
        f"The {part} of {describe(package['func'])} needs {path}, which belongs to the running script, so a cluster "
        "cannot import it: define it in a module."
    )


def paths(package: Mapping[str, Any]) -> Iterator[tuple[str, str]]:
    """Yield the dotted paths in a package: pairs of a description and a path."""
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
    """Return the first function or class of `__main__` that a pickle names, or None, without unpickling.

    Args:
        data: a pickle of protocol 4 or 5.
    """
    texts: list[str | None] = [None, None]  # the last two values on the stack; None for any value but a text
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


def pickling_message(package: Mapping[str, Any], error: Exception) -> str:
    """Return a message that names the part of a package that cannot be pickled.

    Args:
        package: the package.
        error: the error of pickling all of it.
    """
    for name, part in parts(package):
        try:
            pickle.dumps(part, protocol=pickle.HIGHEST_PROTOCOL)
        except Exception as why:  # noqa: BLE001 - pickling runs methods of the project
            kind = qualified_type_name(part)
            return (
                f"The {name} of {describe(package['func'])} is a {kind}, which cannot be pickled ({error_line(why)}): "
                "give plain values, or an id with which the function finds it."
            )
    return f"The task {describe(package['func'])} cannot be pickled: {error_line(error)}"


def parts(package: Mapping[str, Any]) -> Iterator[tuple[str, Any]]:
    """Yield description and value of each part of a package, the likeliest causes of errors first."""
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
