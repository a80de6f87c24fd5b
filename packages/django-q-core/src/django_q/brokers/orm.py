"""Old name of django-q-orm's `ORM`."""

from django_q.old_names import resolver

__getattr__ = resolver(__name__)
