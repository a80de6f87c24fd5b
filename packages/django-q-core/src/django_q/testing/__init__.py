"""What tests of projects and plugins need: nothing here needs pytest but `BrokerConformance`."""

from django_q.testing.eventually import eventually
from django_q.testing.memory_server import MemoryServer

__all__ = ["MemoryServer", "eventually"]
