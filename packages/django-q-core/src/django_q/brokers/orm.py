"""Old name of django-q-orm's `ORM`."""

from django_q.brokers.old_names import broker_named

__getattr__ = broker_named(__name__, "ORM", "orm")
