"""Old names of moved objects: one table, from which modules resolve them on first use."""

from __future__ import annotations

from importlib import import_module
from importlib.util import find_spec
from typing import TYPE_CHECKING, Any, Final

from django.apps import apps

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping

OLD_NAMES: Final[Mapping[str, Mapping[str, str]]] = {
    "django_q.admin": {"QueueAdmin": "django_q_orm.admin.QueueAdmin"},
    "django_q.brokers.aws_sqs": {"Sqs": "django_q_sqs.broker.Sqs"},
    "django_q.brokers.disque": {"Disque": "django_q_disque.broker.Disque"},
    "django_q.brokers.ironmq": {"IronMQBroker": "django_q_ironmq.broker.IronMQBroker"},
    "django_q.brokers.mongo": {"Mongo": "django_q_mongo.broker.Mongo"},
    "django_q.brokers.orm": {"ORM": "django_q_orm.broker.ORM"},
    "django_q.brokers.redis_broker": {"Redis": "django_q_redis.broker.Redis"},
    "django_q.cluster": {"scheduler": "django_q.scheduler.scheduler"},
    "django_q.conf": {
        "ErrorReporter": "django_q.reporters.ErrorReporter",
        "croniter": "croniter",
        "error_reporter": "django_q.reporters.error_reporter",
        "psutil": "psutil",
        "resource": "resource",
        "setproctitle": "setproctitle",
    },
    "django_q.models": {"OrmQ": "django_q_orm.models.OrmQ"},
    "django_q.results": {"batch_delivery": "django_q.workflows.batch_delivery"},
    "django_q.signals": {"call_hook": "django_q.execution.hooks.call_hook"},
}
"""Old module → {old name: new dotted path}. A path without a dot is an optional library."""

PLUGIN_APPS: Final = frozenset({"django_q_orm"})
"""Packages of plugins that are Django apps."""


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

    Returns:
        The module or attribute; None for an optional library that is not installed.

    Raises:
        ImportError: it cannot be imported, or belongs to an app that INSTALLED_APPS lacks.
    """
    package, dot, _ = path.partition(".")
    if not dot:
        return import_module(path) if find_spec(path) else None
    if package == "django_q":
        return _import(path)
    hint = f"{path} belongs to another distribution: pip install {distribution_of(path)}"
    if package in PLUGIN_APPS:
        hint += f", and add {package!r} to INSTALLED_APPS"
    try:
        found = _import(path)
    except (ImportError, RuntimeError) as error:  # Django raises RuntimeError for a model outside of INSTALLED_APPS
        raise ImportError(f"{hint} ({error}).") from error
    if package in PLUGIN_APPS and not apps.is_installed(package):
        raise ImportError(f"{hint}.")
    return found


def _import(path: str) -> Any:
    parent, _, name = path.rpartition(".")
    try:
        return import_module(path)
    except ModuleNotFoundError as error:
        if error.name != path:
            raise
    return getattr(import_module(parent), name)


def distribution_of(path: str) -> str:
    """Return the name of the distribution that contains a new path of Django Q."""
    package = path.partition(".")[0]
    return "django-q-core" if package == "django_q" else package.replace("_", "-")


def table() -> str:
    """Return the old names as a Markdown table, for docs/reference/old-names.md."""
    rows = [
        f"| `{module}.{name}` | `{path}` | {distribution_of(path) if '.' in path else 'an optional library'} |"
        for module, names in OLD_NAMES.items()
        for name, path in names.items()
    ]
    return "\n".join(["| old name | new name | distribution |", "| --- | --- | --- |", *sorted(rows)])
