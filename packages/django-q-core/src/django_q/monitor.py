"""The statistics under the path that the manual documents, `from django_q.monitor import Stat`."""

from django_q.status import Stat, Status

__all__ = ["Stat", "Status"]
