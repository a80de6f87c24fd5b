"""Configuration of the Django app."""

from __future__ import annotations

from django.apps import AppConfig
from django.core.checks import register
from django.utils.functional import lazystr

from django_q import checks
from django_q.exceptions import ConfigurationError
from django_q.settings import current_settings


class Label:
    """Heading of the app in the admin, from the current settings."""

    def __str__(self) -> str:
        try:
            return str(current_settings().label)
        except ConfigurationError:
            return "Django Q"


class DjangoQConfig(AppConfig):
    """Django app, which only registers its system checks."""

    name = "django_q"
    verbose_name = lazystr(Label())
    default_auto_field = "django.db.models.AutoField"

    def ready(self) -> None:
        """Register the system checks."""
        register(checks.check_settings, checks.CHECK_TAG)
        register(checks.check_editions, checks.CHECK_TAG)
        register(checks.check_installation, checks.CHECK_TAG)
        register(checks.check_schedules, checks.CHECK_TAG)
        register(checks.check_sqlite, checks.CHECK_TAG)
