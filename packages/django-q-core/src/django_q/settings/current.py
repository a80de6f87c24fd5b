"""The settings of this moment."""

from __future__ import annotations

from django_q.settings.fields import ClusterSettings, django_mapping, key_of
from django_q.settings.source import OVERRIDES


def current_settings() -> ClusterSettings:
    """Return the settings as Django has them now, with what was put on `Conf` laid over them."""
    if not OVERRIDES:
        return ClusterSettings.from_django()
    return ClusterSettings.from_mapping(
        {**django_mapping(), **{key_of(name): value for name, value in OVERRIDES.items()}}
    )
