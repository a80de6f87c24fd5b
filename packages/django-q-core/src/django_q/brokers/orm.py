"""The old address of django-q-orm's `ORM`."""

from django_q.brokers.faces import face

__getattr__ = face(__name__, "ORM", "orm")
