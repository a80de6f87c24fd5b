"""Amazon SQS as a broker for Django Q."""

from django_q_sqs.broker import Sqs

__all__ = ["Sqs"]
