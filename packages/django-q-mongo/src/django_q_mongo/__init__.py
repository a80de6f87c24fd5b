"""MongoDB as a broker for Django Q."""

from django_q_mongo.broker import Mongo

__all__ = ["Mongo"]
