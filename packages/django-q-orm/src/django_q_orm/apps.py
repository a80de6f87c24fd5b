"""Django app of the database broker."""

from __future__ import annotations

from django.apps import AppConfig
from django.utils.translation import gettext_lazy as _


class DjangoQOrmConfig(AppConfig):
    """Contains the tables of queues and statistics, and the admin of the queues."""

    name = "django_q_orm"
    verbose_name = _("Django Q queue")
    default_auto_field = "django.db.models.BigAutoField"
