"""Results: what tasks returned, in the database and in the cache."""

from django_q.old_names import resolver

__getattr__ = resolver(__name__)
