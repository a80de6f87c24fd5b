"""Reports failed tasks of Django Q to Rollbar."""

from django_q_rollbar.reporter import Rollbar

__all__ = ["Rollbar"]
