"""Old name of django-q-mongo's `Mongo`."""

from django_q.old_names import resolver

__getattr__ = resolver(__name__)
