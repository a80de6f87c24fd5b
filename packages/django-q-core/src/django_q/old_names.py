"""Old names of moved objects: one table, from which modules resolve them on first use."""

from __future__ import annotations

from importlib import import_module
from typing import TYPE_CHECKING, Any, Final

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping

OLD_NAMES: Final[Mapping[str, Mapping[str, str]]] = {
    "django_q.conf": {
        "ErrorReporter": "django_q.reporters.ErrorReporter",
        "error_reporter": "django_q.reporters.error_reporter",
    },
    "django_q.results": {"batch_delivery": "django_q.workflows.batch_delivery"},
    "django_q.signals": {"call_hook": "django_q.hooks.call_hook"},
}
"""Old module → {old name: new dotted path}."""


def resolver(module: str) -> Callable[[str], Any]:
    """Return the `__getattr__` of a module, which imports an old name when it is first used.

    Args:
        module: dotted path of the module.
    """
    names = OLD_NAMES[module]

    def __getattr__(name: str) -> Any:  # noqa: N807 - it becomes the module's function
        if name not in names:
            raise AttributeError(f"module {module!r} has no attribute {name!r}")
        return load(names[name])

    return __getattr__


def load(path: str) -> Any:
    """Import a module, or an attribute of one.

    Args:
        path: its dotted path.

    Raises:
        ImportError: the module cannot be imported.
    """
    parent, _, name = path.rpartition(".")
    try:
        return import_module(path)
    except ModuleNotFoundError as error:
        if error.name != path:
            raise
    return getattr(import_module(parent), name)


def table() -> str:
    """Return the old names as a Markdown table, for docs/reference/old-names.md."""
    rows = [f"| `{module}.{name}` | `{path}` |" for module, names in OLD_NAMES.items() for name, path in names.items()]
    return "\n".join(["| old name | new name |", "| --- | --- |", *sorted(rows)])
