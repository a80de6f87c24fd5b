"""The old address of django-q-mongo's `Mongo`."""

from django_q.brokers.faces import face

__getattr__ = face(__name__, "Mongo", "mongo")
