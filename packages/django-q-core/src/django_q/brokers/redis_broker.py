"""Old name of django-q-redis's `Redis`."""

from django_q.brokers.old_names import broker_named

__getattr__ = broker_named(__name__, "Redis", "redis")
