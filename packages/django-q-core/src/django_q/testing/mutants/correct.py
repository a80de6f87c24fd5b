"""Correct broker, from which the mutants inherit."""

from __future__ import annotations

from typing import TYPE_CHECKING, ClassVar

from django_q.brokers.memory import MemoryBroker
from django_q.exceptions import BrokerError, BrokerUnavailable, PackageTooLarge, mark_sent

if TYPE_CHECKING:
    from collections.abc import Sequence

    from django_q.brokers.memory_queue import MemoryQueue

TOO_LARGE_BYTES = 1_000_000
"""Bytes of the smallest package that is refused for its size."""

CLIENT_ERRORS: tuple[tuple[Exception, type[BrokerError]], ...] = (
    (ConnectionResetError("reset by peer"), BrokerUnavailable),
    (ValueError("invalid request"), BrokerError),
    (OverflowError("request too large"), PackageTooLarge),
)
"""Errors that the simulated client raises, each with the class that the broker raises instead."""


class CorrectBroker(MemoryBroker):
    """The memory broker with a size limit and a client that can fail. It keeps all promises."""

    failure: Exception | None = None
    """Error that the client raises for each request; None while its server is available."""

    def _queue(self) -> MemoryQueue:
        if self.failure is not None:
            kind = next(kind for error, kind in CLIENT_ERRORS if type(error) is type(self.failure))
            raise kind(str(self.failure)) from self.failure
        return super()._queue()

    def enqueue(self, package: str, *, delay: float = 0, priority: int = 0) -> int:
        """Append a package; reject one that is too large."""
        self._check_size(package)
        return super().enqueue(package, delay=delay, priority=priority)

    def enqueue_many(self, packages: Sequence[str], *, priority: int = 0) -> list[int]:
        """Append packages up to the first one that is too large."""
        for position, package in enumerate(packages):
            try:
                self._check_size(package)
            except PackageTooLarge as error:
                super().enqueue_many(packages[:position], priority=priority)
                mark_sent(error, range(position))
                raise
        return super().enqueue_many(packages, priority=priority)

    def _check_size(self, package: str) -> None:
        if len(package.encode()) >= TOO_LARGE_BYTES:
            raise PackageTooLarge


class Mutant(CorrectBroker):
    """A broker with one fault."""

    caught_by: ClassVar[tuple[str, ...]]
    """Names of the tests that the fault breaks, some with a parameter in brackets."""

    served: ClassVar[bool] = False
    """True if the fault needs several processes, so that the queues must be those of a `MemoryServer`."""
