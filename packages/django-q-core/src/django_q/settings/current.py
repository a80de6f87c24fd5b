"""Reads the current settings."""

from __future__ import annotations

from django_q.settings.fields import ClusterSettings, django_mapping, key_of
from django_q.settings.source import CONF_OVERRIDES, django_values


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


def project_cluster(settings: ClusterSettings) -> str:
    """Return the name of the project's own cluster, in the processes of its `ALT_CLUSTERS`, too.

    Args:
        settings: the current ones.
    """
    raw, _ = django_values()
    return str((raw or {}).get("cluster_name") or settings.name)
