"""The old address of django-q-sqs's `Sqs`."""

from django_q.brokers.faces import face

__getattr__ = face(__name__, "Sqs", "sqs")
