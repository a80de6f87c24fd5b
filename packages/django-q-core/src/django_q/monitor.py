"""The old address of the statistics: `from django_q.monitor import Stat`, as the manual has it."""

from django_q.status import Stat, Status

__all__ = ["Stat", "Status"]
