"""Old name of django-q-sqs's `Sqs`."""

from django_q.brokers.old_names import broker_named

__getattr__ = broker_named(__name__, "Sqs", "sqs")
