"""Old name of django-q-sqs's `Sqs`."""

from django_q.old_names import resolver

__getattr__ = resolver(__name__)
