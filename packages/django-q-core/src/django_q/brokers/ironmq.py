"""Old name of django-q-ironmq's `IronMQBroker`."""

from django_q.brokers.old_names import broker_named

__getattr__ = broker_named(__name__, "IronMQBroker", "iron_mq")
