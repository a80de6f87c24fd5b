"""Calls that cannot work → errors that say why, at the call."""

from __future__ import annotations

import pickle
from difflib import get_close_matches
from typing import TYPE_CHECKING, Any

from django_q.exceptions import OptionError, UnsendableTask
from django_q.package import describe

if TYPE_CHECKING:
    from collections.abc import Iterable, Iterator, Mapping

    from django_q.package import TaskPackage
    from django_q.signing import PackageCodec


def refuse_func(func: object) -> None:
    """Refuse what can never be a task's function.

    A dotted path is not imported: who sends a task need not have its code.

    Raises:
        UnsendableTask: it is neither a dotted path nor callable, or nobody else can import it.
    """
    if isinstance(func, str):
        if not func.strip():
            raise UnsendableTask("A task needs a function: give its dotted path, or the function itself.")
        return
    if not callable(func):
        raise UnsendableTask(f"{func!r} is a {type(func).__name__}: give a function, or its dotted path.")
    name = getattr(func, "__qualname__", "")
    if name.endswith("<lambda>") or "<locals>" in name:
        kind = "a lambda" if name.endswith("<lambda>") else "defined inside another function"
        raise UnsendableTask(f"{describe(func)} is {kind}, so a cluster cannot import it: define it in a module.")


def refuse_unknown(given: Mapping[str, Any], known: Iterable[str], never: Iterable[str] = ()) -> None:
    """Refuse options that are none.

    Args:
        given: the options.
        known: their names.
        never: names of options that have their place elsewhere in the call.

    Raises:
        OptionError: says which was meant, perhaps.
    """
    if not hasattr(given, "keys"):
        raise OptionError(f"q_options are {given!r}: give a dict.")
    known, misplaced = list(known), set(never)
    for name in given:
        if name in misplaced:
            raise OptionError(f"{name!r} is said once for all tasks, not for one of them: give it to the whole call.")
        if name not in known:
            close = get_close_matches(str(name), known, 1)
            hint = f"did you mean {close[0]!r}?" if close else f"there are {', '.join(known)}."
            raise OptionError(f"{name!r} is not an option of a task: {hint}")


def sign(codec: PackageCodec, package: TaskPackage) -> str:
    """Sign a package.

    Raises:
        UnsendableTask: something in it cannot be pickled; says what.
    """
    try:
        return codec.dumps(package)
    except Exception as error:  # pickling runs the methods of whatever is inside
        raise UnsendableTask(complaint(package, error)) from error


def complaint(package: Mapping[str, Any], error: Exception) -> str:
    """Name the part of a package that cannot be pickled."""
    for name, part in parts(package):
        try:
            pickle.dumps(part, protocol=pickle.HIGHEST_PROTOCOL)
        except Exception as why:  # noqa: BLE001 - pickling runs the methods of whatever is inside
            return (
                f"The {name} of {describe(package['func'])} is a {type(part).__module__}.{type(part).__qualname__}, "
                f"which cannot be pickled ({why}): give plain values, or something to find it by."
            )
    return f"The task {describe(package['func'])} cannot be pickled: {error}"


def parts(package: Mapping[str, Any]) -> Iterator[tuple[str, Any]]:
    """Take a package apart, from what is most likely to be at fault."""
    yield "function", package["func"]
    for index, value in enumerate(package.get("args", ()), 1):
        yield f"argument {index}", value
    for name, value in package.get("kwargs", {}).items():
        yield f"argument {name!r}", value
    for index, link in enumerate(package.get("chain") or (), 2):
        for name, value in parts(dict(zip(("func", "args", "kwargs"), link, strict=False))):
            yield f"link {index}, {name}", value
    for name, value in package.items():
        if name not in ("args", "kwargs", "chain"):
            yield f"option {name!r}", value
