"""Redis and Valkey as a broker for Django Q."""

from django_q_redis.broker import Redis

__all__ = ["Redis"]
