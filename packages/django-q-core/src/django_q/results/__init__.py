"""Results of tasks, in the database and in the cache."""

from django_q.old_names import resolver

__getattr__ = resolver(__name__)
