"""The function that sends the tasks of due schedules, under its old name."""

from __future__ import annotations

from typing import TYPE_CHECKING

from django.db import router

from django_q.brokers import get_broker
from django_q.models import Schedule
from django_q.schedules.due import DueSchedules
from django_q.schedules.zone import restore_moments
from django_q.settings import current_settings

if TYPE_CHECKING:
    from django_q.brokers import Broker


def scheduler(broker: Broker | None = None) -> None:
    """Send the tasks of all due schedules.

    Args:
        broker: broker of the tasks; None for that of the settings.
    """
    restore_moments(router.db_for_write(Schedule))
    schedules = DueSchedules(current_settings(), broker or get_broker())
    while schedules.run_pass().more:
        pass
