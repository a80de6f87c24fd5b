"""Old name of django-q-disque's `Disque`."""

from django_q.brokers.old_names import broker_named

__getattr__ = broker_named(__name__, "Disque", "disque_nodes")
