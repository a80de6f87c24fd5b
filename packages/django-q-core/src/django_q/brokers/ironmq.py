"""Old name of django-q-ironmq's `IronMQBroker`."""

from django_q.old_names import resolver

__getattr__ = resolver(__name__)
