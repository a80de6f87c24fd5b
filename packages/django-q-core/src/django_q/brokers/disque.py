"""Old name of django-q-disque's `Disque`."""

from django_q.old_names import resolver

__getattr__ = resolver(__name__)
