"""Finds the plugins of installed distributions by their entry points."""

from __future__ import annotations

from difflib import get_close_matches
from functools import cached_property
from importlib.metadata import EntryPoint, entry_points
from importlib.util import find_spec
from typing import Any, Final, Generic, TypeVar, cast

from django.apps import apps

from django_q.exceptions import BrokenPlugin, ConfigurationError, MissingPlugin
from django_q.text import error_line

T = TypeVar("T")

WITHOUT_ENTRY_POINT: Final = {
    "djangoq.errorreporters": {"rollbar": "django_q_rollbar:Rollbar", "sentry": "django_q_sentry:Sentry"},
}
"""Plugins by group and name whose published wheels have no entry point, because django-q declared it for them."""

DISTRIBUTIONS: Final = {
    "disque_nodes": "django-q-disque",
    "django_redis": "django-q-redis",
    "iron_mq": "django-q-ironmq",
    "mongo": "django-q-mongo",
    "orm": "django-q-orm",
    "redis": "django-q-redis",
    "rollbar": "django-q-rollbar",
    "sentry": "django-q-sentry",
    "sqs": "django-q-sqs",
}
"""Distribution of Django Q for each plugin name, for the hint if it is not installed."""


class Registry(Generic[T]):
    """Registry of the entry points of one group, by name. A process looks them up once.

    Args:
        group: the entry point group.
        what: noun for its plugins, for messages.
    """

    def __init__(self, group: str, what: str) -> None:
        self.group = group
        self.what = what
        self._loaded: dict[str, T] = {}

    @cached_property
    def _found(self) -> dict[str, list[EntryPoint]]:
        found: dict[str, list[EntryPoint]] = {}
        for point in entry_points(group=self.group):
            same = found.setdefault(point.name, [])
            # An editable install may list its distribution twice.
            if point.value not in [other.value for other in same]:
                same.append(point)
        for name, value in WITHOUT_ENTRY_POINT.get(self.group, {}).items():
            if name not in found and find_spec(value.partition(":")[0]) is not None:
                found[name] = [EntryPoint(name, value, self.group)]
        return found

    def names(self) -> frozenset[str]:
        """Return the names of the installed plugins."""
        return frozenset(self._found)

    def load(self, name: str) -> T:
        """Import and return a plugin.

        Raises:
            MissingPlugin: no installed distribution offers it.
            BrokenPlugin: it cannot be imported.
            ConfigurationError: several distributions offer it, or INSTALLED_APPS lacks its app.
        """
        if name not in self._loaded:
            if app := self.missing_app(name):
                raise ConfigurationError(f"The {self.what} {name!r} is an app: add {app!r} to INSTALLED_APPS.")
            self._loaded[name] = self._import(self.find(name))
        return self._loaded[name]

    def missing_app(self, name: str) -> str | None:
        """Return the app of a plugin if INSTALLED_APPS lacks it, or None. A plugin with a module `apps` is an app.

        Raises:
            BrokenPlugin: its package cannot be imported.
        """
        point = self.find(name)
        package = point.module.partition(".")[0]
        try:
            return package if is_app(package) and not is_installed(package) else None
        except Exception as error:
            raise self._broken(point, error) from error

    def find(self, name: str) -> EntryPoint:
        """Return the entry point of a plugin, without importing it.

        Raises:
            MissingPlugin: no installed distribution offers it.
            ConfigurationError: several distributions offer it.
        """
        points = self._found.get(name, [])
        if not points:
            raise MissingPlugin(self._missing(name))
        if len(points) > 1:
            offers = " and ".join(sorted(f"{distribution_of(point)} ({point.value})" for point in points))
            raise ConfigurationError(f"The {self.what} {name!r} is offered by {offers}: uninstall all but one.")
        return points[0]

    def _import(self, point: EntryPoint) -> T:
        try:
            return cast("T", point.load())
        except Exception as error:
            raise self._broken(point, error) from error

    def _broken(self, point: EntryPoint, error: Exception) -> BrokenPlugin:
        return BrokenPlugin(
            f"The {self.what} {point.name!r} of {distribution_of(point)} cannot be imported: {error_line(error)}. "
            f"Reinstall it with what it needs: pip install --force-reinstall {distribution_of(point)}"
        )

    def _missing(self, name: str) -> str:
        installed = ", ".join(sorted(self._found)) or "none"
        similar = get_close_matches(name, {*self._found, *self._ours()}, 1)
        hint = f" Did you mean {similar[0]!r}?" if similar else ""
        if name in DISTRIBUTIONS:
            return (
                f"The {self.what} {name!r} needs {DISTRIBUTIONS[name]} (installed: {installed}). "
                f"pip install {DISTRIBUTIONS[name]}"
            )
        return (
            f"There is no {self.what} {name!r} (installed: {installed}).{hint} Install the distribution that offers it."
        )

    def _ours(self) -> set[str]:
        reporters = {"rollbar", "sentry"}
        return reporters if self.what != "broker" else set(DISTRIBUTIONS) - reporters


def is_app(package: str) -> bool:
    """Return True if a package is a Django app."""
    try:
        spec = find_spec(f"{package}.apps")
    except ModuleNotFoundError:
        return False
    # A package `apps` contains the apps of a project, and is no app itself.
    return spec is not None and spec.submodule_search_locations is None


def is_installed(package: str) -> bool:
    """Return True if INSTALLED_APPS contains a package or a part of it."""
    return any(f"{config.name}.".startswith(f"{package}.") for config in apps.get_app_configs())


def distribution_of(point: EntryPoint) -> str:
    """Return the name of the distribution that offers an entry point."""
    distribution: Any = point.dist
    return distribution.name if distribution is not None else point.module.partition(".")[0].replace("_", "-")


def distribution_for(name: str) -> str:
    """Return the name of the distribution that offers a plugin, or a description if it is not known."""
    return DISTRIBUTIONS.get(name, f"the distribution that offers {name!r}")
