"""The old address of django-q-ironmq's `IronMQBroker`."""

from django_q.brokers.faces import face

__getattr__ = face(__name__, "IronMQBroker", "iron_mq")
