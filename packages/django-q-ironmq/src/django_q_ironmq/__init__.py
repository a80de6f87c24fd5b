"""IronMQ as a broker for Django Q."""

from django_q_ironmq.broker import IronMQBroker

__all__ = ["IronMQBroker"]
