"""Sets Django up in a process that is not forked, as in its parent."""

from __future__ import annotations

import os
import pickle
import sys
from dataclasses import dataclass
from importlib import import_module
from typing import TYPE_CHECKING, Any, Self

import django
from django.apps import apps
from django.conf import ENVIRONMENT_VARIABLE, Settings, global_settings, settings
from django.core.exceptions import ImproperlyConfigured

if TYPE_CHECKING:
    from collections.abc import Mapping


@dataclass(frozen=True, kw_only=True)
class Importer:
    """Member of `sys.meta_path`, in a form that another process can install."""

    module: str
    """Name of the module that defines it."""
    name: str
    """Name of its class."""
    pickled: bytes | None
    """The importer, if it can be pickled."""

    @classmethod
    def of(cls, importer: object) -> Self:
        """Describe an importer."""
        return cls(module=type(importer).__module__, name=type(importer).__name__, pickled=dump(importer))

    def install(self) -> None:
        """Install the importer, with the function `install` of its module if there is one (django-configurations)."""
        if any((type(each).__module__, type(each).__name__) == (self.module, self.name) for each in sys.meta_path):
            return
        install = getattr(import_module(self.module), "install", None)
        if callable(install):
            install()
        elif self.pickled is not None:
            sys.meta_path.insert(0, pickle.loads(self.pickled))


@dataclass(frozen=True, kw_only=True)
class DjangoSetup:
    """Environment, importers and settings of a process.

    A project's `manage.py` may do more than name the settings module: install an importer for it, as
    django-configurations does, or call `settings.configure()`. A spawned process does not run that part of `manage.py`.
    """

    environment: Mapping[str, str]
    importers: tuple[Importer, ...]
    """Importers of the settings module."""
    values: Mapping[str, bytes] | None
    """Pickled settings; None if another process can import the module of the settings."""
    missing: tuple[str, ...]
    """Names of settings that cannot be pickled."""

    @classmethod
    def of_this_process(cls, environment: Mapping[str, str]) -> Self:
        """Describe the calling process.

        Args:
            environment: variables to add.
        """
        variables = {**os.environ, **environment}
        values: dict[str, bytes] | None = None
        module, importers = settings_module(), ()
        if module is None:
            values = {name: dumped for name in own_settings() if (dumped := dump(getattr(settings, name))) is not None}
        else:
            variables[ENVIRONMENT_VARIABLE] = module
            importers = tuple(map(Importer.of, importers_of(module)))
        missing = () if values is None else tuple(name for name in own_settings() if name not in values)
        return cls(environment=variables, importers=importers, values=values, missing=missing)

    def run(self) -> None:
        """Set Django up, unless the project's main module has done so.

        Raises:
            ImproperlyConfigured: the settings are not available in this process.
        """
        os.environ.update(self.environment)
        if not settings.configured:
            self._configure()
        if not apps.ready:
            django.setup()

    def _configure(self) -> None:
        if self.values is None:
            for importer in self.importers:
                importer.install()
            return
        module = self.environment.get(ENVIRONMENT_VARIABLE)
        if self.missing and not module:
            raise ImproperlyConfigured(
                f"The settings {', '.join(self.missing)} cannot be pickled for a process that is not forked: move the "
                "settings to a module, or call settings.configure() outside of `if __name__ == '__main__'`."
            )
        # Settings that cannot be pickled come from the module. A test may have overridden others of its settings.
        defaults = Settings(module) if self.missing and module else global_settings
        settings.configure(defaults, **{name: pickle.loads(value) for name, value in self.values.items()})


def settings_module() -> str | None:
    """Return the name of the settings module; None if there is none, or another process cannot import it."""
    name: str | None = getattr(settings, "SETTINGS_MODULE", None)
    was_imported = name == "__main__" or getattr(sys.modules.get(name or ""), "__spec__", name) is not None
    return name if was_imported else None


def own_settings() -> list[str]:
    """Return the names of the settings that differ from the defaults of Django."""
    unset = object()
    return [
        name
        for name in sorted(set(dir(settings)))
        if name.isupper() and getattr(settings, name) is not getattr(global_settings, name, unset)
    ]


def importers_of(module: str) -> list[Any]:
    """Return the importers that find a module, without those of Python, which are classes."""
    package = sys.modules.get(module.rpartition(".")[0])
    path = getattr(package, "__path__", None)
    others = [each for each in sys.meta_path if not isinstance(each, type) and hasattr(each, "find_spec")]
    return [each for each in others if each.find_spec(module, path) is not None]


def dump(value: Any) -> bytes | None:
    """Pickle a value; return None if that is not possible."""
    try:
        return pickle.dumps(value)
    except Exception:  # noqa: BLE001 - the code of the value may raise any exception
        return None
