"""Sources of settings: Django, the environment, and values that were assigned to `Conf`."""

from __future__ import annotations

import os
from collections.abc import Mapping
from operator import is_
from typing import Any, Final, NamedTuple, Self

from django.conf import settings as django_settings

CONF_OVERRIDES: Final[dict[str, Any]] = {}
"""Values that were assigned to `Conf`, by field."""

CLUSTER_NAME_VARIABLE: Final = "Q_CLUSTER_NAME"
"""Environment variable with the name of one of the `ALT_CLUSTERS`, or of another queue."""


def chosen_by_environment() -> str | None:
    """Return the cluster name in the environment variable `Q_CLUSTER_NAME`; None without it."""
    return os.environ.get(CLUSTER_NAME_VARIABLE)


def django_values() -> tuple[Mapping[str, Any] | None, str | None]:
    """Return `Q_CLUSTER` and the time zone of the Django settings; None as time zone without `USE_TZ`."""
    zone = django_settings.TIME_ZONE if django_settings.USE_TZ else None
    return getattr(django_settings, "Q_CLUSTER", None), zone


def own_copy(value: Any) -> Any:
    """Return a copy in which all nested dictionaries and lists are copies, and all other values are shared."""
    if isinstance(value, Mapping):
        return {key: own_copy(inner) for key, inner in value.items()}
    return [own_copy(inner) for inner in value] if isinstance(value, list) else value


class CachedSettings(NamedTuple):
    """Settings, and the values from which they were created."""

    raw: Mapping[str, Any] | None
    """`Q_CLUSTER` itself."""
    values: tuple[object, ...]
    """Its values themselves."""
    content: Mapping[str, Any] | None
    """A copy of it."""
    zone: str | None
    settings: object

    @classmethod
    def of(cls, raw: Mapping[str, Any] | None, zone: str | None, settings: object) -> Self:
        """Create it from `Q_CLUSTER`, the time zone and the settings."""
        return cls(raw, tuple((raw or {}).values()), own_copy(raw), zone, settings)

    def is_current(self, raw: Mapping[str, Any] | None, zone: str | None) -> bool:
        """Return True if the settings are up to date. Identity is compared, too, because True and 1 are equal."""
        if raw is not self.raw or zone != self.zone:
            return False
        return raw is None or (raw == self.content and all(map(is_, raw.values(), self.values)))
