"""Sources of the settings: Django, the environment, and overrides on `Conf`."""

from __future__ import annotations

import os
from collections.abc import Mapping
from operator import is_
from typing import Any, Final, NamedTuple, Self

from django.conf import settings as django_settings

OVERRIDES: Final[dict[str, Any]] = {}
"""Values that were put on `Conf`, by field."""

CLUSTER_NAME_VARIABLE: Final = "Q_CLUSTER_NAME"
"""The environment variable that chooses one of the `ALT_CLUSTERS`, or another queue."""


def chosen_by_environment() -> str | None:
    """The cluster that `$Q_CLUSTER_NAME` chooses."""
    return os.environ.get(CLUSTER_NAME_VARIABLE)


def django_values() -> tuple[Mapping[str, Any] | None, str | None]:
    """The `Q_CLUSTER` and the time zone of the Django settings; without `USE_TZ` there are no time zones."""
    zone = django_settings.TIME_ZONE if django_settings.USE_TZ else None
    return getattr(django_settings, "Q_CLUSTER", None), zone


def own_copy(value: Any) -> Any:
    """A copy of dictionaries and lists all the way down, of nothing else."""
    if isinstance(value, Mapping):
        return {key: own_copy(inner) for key, inner in value.items()}
    return [own_copy(inner) for inner in value] if isinstance(value, list) else value


class Known(NamedTuple):
    """Settings already made, with what they were made of."""

    raw: Mapping[str, Any] | None
    values: tuple[object, ...]
    content: Mapping[str, Any] | None
    zone: str | None
    settings: object

    @classmethod
    def of(cls, raw: Mapping[str, Any] | None, zone: str | None, settings: object) -> Self:
        """Settings to be remembered."""
        return cls(raw, tuple((raw or {}).values()), own_copy(raw), zone, settings)

    def still_holds(self, raw: Mapping[str, Any] | None, zone: str | None) -> bool:
        """Were the settings made of the same? True and 1 are equal, so that the values are compared by identity too."""
        if raw is not self.raw or zone != self.zone:
            return False
        return raw is None or (raw == self.content and all(map(is_, raw.values(), self.values)))
