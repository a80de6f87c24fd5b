"""The old address of django-q-disque's `Disque`."""

from django_q.brokers.faces import face

__getattr__ = face(__name__, "Disque", "disque_nodes")
