"""Changes the settings of the cluster in a test."""

from __future__ import annotations

from typing import Any

from django.conf import settings as django_settings
from django.test.utils import override_settings


def changed_cluster(**settings: Any) -> override_settings:
    """Return a context manager that replaces keys of `Q_CLUSTER`, and keeps the others."""
    return override_settings(Q_CLUSTER={**getattr(django_settings, "Q_CLUSTER", {}), **settings})
