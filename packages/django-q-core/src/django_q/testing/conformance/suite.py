"""What the groups of promises share: the brokers under test, and how a test is chosen."""

from __future__ import annotations

import dataclasses
import time
import uuid
from collections.abc import Callable, Iterator, Mapping
from typing import Any, ClassVar, TypeAlias, TypeVar

import pytest

from django_q.brokers import Broker, Delivery

Test = TypeVar("Test", bound=Callable[..., None])
MakeBroker: TypeAlias = Callable[[str], Broker]

PATIENT = 60.0
"""Seconds of lease in tests in which none may end."""

SLACK = 10.0
"""Seconds that a busy machine may be late."""


def needs(*capabilities: str) -> Callable[[Test], Test]:
    """Run a test only for brokers, or suites, that say yes to all of these."""

    def mark(test: Test) -> Test:
        test.needs = capabilities  # type: ignore[attr-defined]
        return test

    return mark


class Suite:
    """The brokers under test; a subclass offers the fixture `make_broker`, and may answer a few questions."""

    retry: ClassVar[float] = 1.0
    """Seconds of the shortest lease the product knows, to wait for its end."""
    in_order: ClassVar[bool] = True
    """Do packages come in the order in which they were sent?"""
    shared: ClassVar[bool] = True
    """Do other processes see the same queues?"""
    not_promised: ClassVar[Mapping[str, str]] = {}
    """Tests that are expected to fail, each with the reason that the product gives."""

    def __init_subclass__(cls, **options: Any) -> None:
        super().__init_subclass__(**options)
        promises = {name for base in cls.__mro__[1:] for name in vars(base) if name.startswith("test_")}
        if broken := sorted(promises & vars(cls).keys()):
            raise TypeError(f"{cls.__name__} overrides {', '.join(broken)}: name them in not_promised, with the reason")

    @pytest.fixture
    def make_broker(self) -> MakeBroker:
        """Make a broker for the queue of that name: the one fixture that a subclass has to offer."""
        raise NotImplementedError(f"{type(self).__name__} needs the fixture make_broker")

    @pytest.fixture
    def server(self) -> Any:
        """What has `stop()` and `start()`, where the suite may end the broker's server; None where it may not."""
        return None

    @pytest.fixture
    def list_key(self) -> str:
        """A queue that nobody else uses."""
        return f"conformance-{uuid.uuid4().hex[:12]}"

    @pytest.fixture
    def broker(self, make_broker: MakeBroker, list_key: str) -> Iterator[Broker]:
        """A broker whose leases do not end during a test."""
        broker = self.with_lease(make_broker(list_key), PATIENT)
        yield broker
        broker.delete_queue()

    @pytest.fixture
    def other(self, make_broker: MakeBroker, list_key: str, broker: Broker) -> Broker:
        """Another broker for the same queue."""
        return self.with_lease(make_broker(list_key), PATIENT)

    @pytest.fixture
    def hasty(self, make_broker: MakeBroker, list_key: str, broker: Broker) -> Broker:
        """Another broker for the same queue, whose leases end soon."""
        return self.with_lease(make_broker(list_key), self.retry)

    @pytest.fixture(autouse=True)
    def chosen_by_capability(self, request: pytest.FixtureRequest, broker: Broker) -> None:
        """Skip what the broker does not claim; expect to fail what the product cannot do."""
        test = request.function
        for capability in getattr(test, "needs", ()):
            asked = self if hasattr(self, capability) else broker
            if not getattr(asked, capability):
                pytest.skip(f"{type(asked).__name__} says no to {capability}")
        if reason := self.not_promised.get(test.__name__):
            request.applymarker(pytest.mark.xfail(reason=reason, strict=True))

    @staticmethod
    def with_lease(broker: Broker, retry: float) -> Broker:
        """The broker, with leases of *retry* seconds and fetches of up to ten."""
        broker.settings = dataclasses.replace(broker.settings, retry=retry, bulk=10)
        return broker


def text(package: str | bytes) -> str:
    """A package as it was sent."""
    return package.decode() if isinstance(package, bytes) else package


def take(broker: Broker, within: float = SLACK) -> Delivery:
    """The next delivery."""
    deadline = time.monotonic() + within
    while True:
        found = broker.dequeue_many(1, 0.2)
        if found:
            return found[0]
        assert time.monotonic() < deadline, f"nothing came within {within:g} s"


def take_many(broker: Broker, count: int, within: float = SLACK) -> list[Delivery]:
    """The next *count* deliveries."""
    deadline = time.monotonic() + within
    found: list[Delivery] = []
    while len(found) < count:
        found += broker.dequeue_many(count - len(found), 0.2)
        assert time.monotonic() < deadline, f"{len(found)} of {count} came within {within:g} s"
    return found


def nothing_comes(broker: Broker, within: float = 0.2) -> bool:
    """Does the queue stay empty for so long?"""
    deadline = time.monotonic() + within
    while (left := deadline - time.monotonic()) > 0:
        if broker.dequeue_many(1, left):
            return False
    return True
