"""Brokers keep packages between their senders and the clusters that execute them."""

from django_q.brokers.base import EXACT_PRIORITIES, FAIR_FETCHES, AckId, Broker, Delivery
from django_q.brokers.bulk import BulkBroker
from django_q.brokers.listing import ListedPackage, PackageState
from django_q.brokers.registry import broker_class, broker_of, consuming_broker, get_broker, shared_broker

__all__ = [
    "EXACT_PRIORITIES",
    "FAIR_FETCHES",
    "AckId",
    "Broker",
    "BulkBroker",
    "Delivery",
    "ListedPackage",
    "PackageState",
    "broker_class",
    "broker_of",
    "consuming_broker",
    "get_broker",
    "shared_broker",
]
