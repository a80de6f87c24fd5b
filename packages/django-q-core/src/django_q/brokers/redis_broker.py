"""Old name of django-q-redis's `Redis`."""

from django_q.old_names import resolver

__getattr__ = resolver(__name__)
