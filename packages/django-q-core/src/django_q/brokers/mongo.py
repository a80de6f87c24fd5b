"""Old name of django-q-mongo's `Mongo`."""

from django_q.brokers.old_names import broker_named

__getattr__ = broker_named(__name__, "Mongo", "mongo")
