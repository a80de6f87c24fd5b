"""Disque as a broker for Django Q."""

from django_q_disque.broker import Disque

__all__ = ["Disque"]
