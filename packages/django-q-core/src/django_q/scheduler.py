"""The old name of what sends due schedules."""

from __future__ import annotations

from typing import TYPE_CHECKING

from django_q.brokers import get_broker
from django_q.conf import current_settings
from django_q.schedules.due import DueSchedules

if TYPE_CHECKING:
    from django_q.brokers import Broker


def scheduler(broker: Broker | None = None) -> None:
    """Send every schedule that is due now, through a broker: by default the one of the settings."""
    schedules = DueSchedules(current_settings(), broker or get_broker())
    while schedules.turn().more:
        pass
