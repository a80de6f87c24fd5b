"""The current settings, under the names of the public editions."""

from __future__ import annotations

import signal
from os import getppid as get_ppid
from typing import TYPE_CHECKING, Any, Final

from django.conf import settings as django_settings
from django.core.exceptions import ImproperlyConfigured

from django_q.log.events import logger
from django_q.old_names import resolver
from django_q.settings import current_settings
from django_q.settings.fields import FIELDS
from django_q.settings.source import CONF_OVERRIDES
from django_q.status import IDLE, STARTING, STOPPED, STOPPING, WORKING

if TYPE_CHECKING:
    from collections.abc import Callable

__all__ = ["Conf", "current_settings", "get_ppid", "logger"]

RENAMED_FIELDS: Final = {"name": "PREFIX", "compress": "COMPRESSED"}
"""Old names of fields that are not the field's name in upper case."""

FIELDS_BY_OLD_NAME: Final = {RENAMED_FIELDS.get(field, field.upper()): field for field in FIELDS}
"""Field of each old name."""


def secret_key() -> str | bytes | None:
    """Return Django's secret key, or None if it is not set, because some commands need none."""
    try:
        return django_settings.SECRET_KEY or None
    except ImproperlyConfigured:
        return None


def q_cluster() -> dict[str, Any]:
    """Return the `Q_CLUSTER` dictionary of the Django settings."""
    return getattr(django_settings, "Q_CLUSTER", None) or {}


DERIVED_VALUES: Final[dict[str, Callable[[], Any]]] = {
    "SECRET_KEY": secret_key,
    "Q_STAT": lambda: current_settings().q_stat,
    "QSIZE": lambda: True,
    "SIGNAL_NAMES": lambda: {number.value: number.name for number in signal.Signals},
    "TESTING": lambda: False,
    "STARTING": lambda: STARTING,
    "WORKING": lambda: WORKING,
    "IDLE": lambda: IDLE,
    "STOPPED": lambda: STOPPED,
    "STOPPING": lambda: STOPPING,
    "conf": q_cluster,
}
"""Functions that return the values of old names without a field."""


class LiveConf:
    """The current settings by their old names, which can be overridden.

    `Conf.SYNC = True` overrides a setting in this process until `del Conf.SYNC`. To assign the earlier value, as
    `monkeypatch` does at the end of a test, has the same effect as `del`.
    """

    __slots__ = ("__dict__", "_before")

    def __init__(self) -> None:
        object.__setattr__(self, "_before", {})

    def __getattr__(self, name: str) -> Any:
        if name in FIELDS_BY_OLD_NAME:
            return getattr(current_settings(), FIELDS_BY_OLD_NAME[name])
        if name in DERIVED_VALUES:
            return DERIVED_VALUES[name]()
        raise AttributeError(f"Conf has no {name!r}; it has {', '.join(dir(self))}.")

    def __setattr__(self, name: str, value: object) -> None:
        if name not in vars(self):
            self._before[name] = getattr(self, name, None)
        if is_same(value, self._before[name]) and name in vars(self):
            delattr(self, name)
        else:
            vars(self)[name] = value
            if name in FIELDS_BY_OLD_NAME:
                CONF_OVERRIDES[FIELDS_BY_OLD_NAME[name]] = value

    def __delattr__(self, name: str) -> None:
        if name not in vars(self):
            raise AttributeError(name)
        del vars(self)[name], self._before[name]
        CONF_OVERRIDES.pop(FIELDS_BY_OLD_NAME.get(name, ""), None)

    def __dir__(self) -> list[str]:
        return sorted({*FIELDS_BY_OLD_NAME, *DERIVED_VALUES, *vars(self)})


def is_same(value: object, other: object) -> bool:
    """Return True if two values are equal and of one type, unlike True and 1."""
    return type(value) is type(other) and value == other


Conf: Final = LiveConf()
"""The settings of this process."""

__getattr__ = resolver(__name__)
