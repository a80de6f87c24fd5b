"""Reads the current settings."""

from __future__ import annotations

from django_q.settings.fields import ClusterSettings, django_mapping, key_of
from django_q.settings.source import CONF_OVERRIDES


def current_settings() -> ClusterSettings:
    """Return the current settings of Django, overridden by values that were assigned to `Conf`.

    Raises:
        ConfigurationError: a value is invalid.
    """
    if not CONF_OVERRIDES:
        return ClusterSettings.from_django()
    return ClusterSettings.from_mapping(
        {**django_mapping(), **{key_of(name): value for name, value in CONF_OVERRIDES.items()}}
    )
