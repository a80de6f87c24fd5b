"""Reports failed tasks of Django Q to Sentry."""

from django_q_sentry.reporter import Sentry

__all__ = ["Sentry"]
