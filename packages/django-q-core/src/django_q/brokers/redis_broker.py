"""The old address of django-q-redis's `Redis`."""

from django_q.brokers.faces import face

__getattr__ = face(__name__, "Redis", "redis")
