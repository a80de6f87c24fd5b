"""Base class of the groups of promises: fixtures, and selection of tests by capability."""

from __future__ import annotations

import dataclasses
import time
import uuid
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import AbstractContextManager
from typing import TYPE_CHECKING, Any, ClassVar, TypeAlias, TypeVar

import pytest

from django_q.brokers import Broker, Delivery

if TYPE_CHECKING:
    from django_q.exceptions import BrokerError

Test = TypeVar("Test", bound=Callable[..., None])
MakeBroker: TypeAlias = Callable[[str], Broker]
HoldAsOld: TypeAlias = Callable[[str, float], str | None]
ClientRaises: TypeAlias = Callable[[Broker, Exception], AbstractContextManager[object]]

LONG_LEASE_SECONDS = 60.0
"""Lease in tests in which none may expire."""

DELAY_SECONDS = 1.0
"""Delay whose end a test waits for."""

TIMEOUT_SECONDS = 20.0
"""Maximum duration of a wait in a test. It is not a promise of the broker."""

BUSY_SECONDS = 2.0
"""Time that a busy machine adds to the precision of a broker."""

CLOCK_SKEW_SECONDS = 0.1
"""Maximum difference between the clocks of two machines, or two clocks of one machine."""

MAX_MEASUREMENTS = 3
"""Number of measurements of which at least one must be in time, because a machine may stall."""


def needs(*capabilities: str) -> Callable[[Test], Test]:
    """Mark a test that needs capabilities: attributes of the broker or the suite that must be true."""

    def mark(test: Test) -> Test:
        test.needs = capabilities  # type: ignore[attr-defined]
        return test

    return mark


def needs_priorities(count: int = 3) -> Callable[[Test], Test]:
    """Mark a test that needs a broker with at least *count* priorities."""

    def mark(test: Test) -> Test:
        test.needs_priorities = count  # type: ignore[attr-defined]
        return test

    return mark


class Suite:
    """The brokers under test. A subclass has the fixture `make_broker` and may set attributes for its product."""

    retry: ClassVar[float] = 1.0
    """Seconds of the shortest lease that the product supports. Tests wait for its end."""
    in_order: ClassVar[bool] = True
    """True if packages are delivered in the order in which they were sent."""
    shared: ClassVar[bool] = True
    """True if other processes use the same queues."""
    lease_of_sender: ClassVar[bool] = False
    """True if the `retry` of the sender is the duration of a lease, and not that of the consumer."""
    beside_leases: ClassVar[bool] = True
    """True if packages are delivered while others of the queue are under a lease."""
    knows_ended_leases: ClassVar[bool] = True
    """True if a lease that has ended is reported as lost even if no other consumer has the package yet."""
    large_batch: ClassVar[int] = 1_100
    """Number of packages of a batch that needs more than one request of the product."""
    large_lease_batch: ClassVar[int] = 1_100
    """Number of leases that tests renew or release together, if it is less than `large_batch`."""
    steps: ClassVar[int] = 150
    """Number of random operations, unless the environment variable `DJANGO_Q_STEPS` sets another."""
    longest_name: ClassVar[int] = 95
    """Characters of the longest cluster name that the product accepts. `<name>-dead` must fit, too."""
    client_errors: ClassVar[Sequence[tuple[Exception, type[BrokerError]]]] = ()
    """Errors of the product's client, each with the class that the broker must raise instead.

    It is `BrokerUnavailable` if the same request may succeed later, and `PackageTooLarge` or `BrokerError` if the
    request is rejected."""
    not_promised: ClassVar[Mapping[str, str]] = {}
    """Tests that are expected to fail, each with the property of the product that is the reason."""

    def __init_subclass__(cls, **options: Any) -> None:
        super().__init_subclass__(**options)
        promises = {name for base in cls.__mro__[1:] for name in vars(base) if name.startswith("test_")}
        if broken := sorted(promises & vars(cls).keys()):
            raise TypeError(f"{cls.__name__} overrides {', '.join(broken)}: name them in not_promised, with the reason")

    @pytest.fixture
    def make_broker(self) -> MakeBroker:
        """Return a function that makes a broker for the name of a queue. The only fixture that a subclass must have."""
        raise NotImplementedError(f"{type(self).__name__} needs the fixture make_broker")

    @pytest.fixture
    def server(self) -> Any:
        """Return an object with `stop()` and `start()` of the broker's server; None if tests may not stop it."""
        return None

    @pytest.fixture
    def too_large(self) -> int | None:
        """Return the bytes of a package that the product rejects as too large; None if it has no such limit."""
        return None

    @pytest.fixture
    def client_raises(self) -> ClientRaises | None:
        """Return a context manager in which each request of a broker's client raises an error; None skips tests."""
        return None

    @pytest.fixture
    def hold_as_old(self) -> HoldAsOld | None:
        """Return a function that leases the next package as a consumer of a public edition, for *retry* seconds.

        It returns the package. None if public editions do not share the queue, or delete packages on delivery.
        """
        return None

    @pytest.fixture
    def list_key(self) -> str:
        """Return the name of a queue that no other test uses."""
        return f"conformance-{uuid.uuid4().hex[:12]}"

    @pytest.fixture
    def broker(self, make_broker: MakeBroker, list_key: str) -> Iterator[Broker]:
        """Return a broker whose leases do not expire during a test; delete its queue afterwards."""
        broker = self.with_lease(make_broker(list_key), LONG_LEASE_SECONDS)
        yield broker
        broker.delete_queue()

    @pytest.fixture
    def other(self, make_broker: MakeBroker, list_key: str, broker: Broker) -> Broker:
        """Return another broker for the same queue."""
        return self.with_lease(make_broker(list_key), LONG_LEASE_SECONDS)

    @pytest.fixture
    def hasty(self, make_broker: MakeBroker, list_key: str, broker: Broker) -> Broker:
        """Return another broker for the same queue, whose leases last `retry` seconds."""
        return self.with_lease(make_broker(list_key), self.retry)

    @pytest.fixture(autouse=True)
    def chosen_by_capability(self, request: pytest.FixtureRequest, broker: Broker) -> None:
        """Skip tests of missing capabilities, and mark those in `not_promised` as expected failures."""
        test = request.function
        for capability in getattr(test, "needs", ()):
            asked = self if hasattr(self, capability) else broker
            if not getattr(asked, capability):
                pytest.skip(f"{type(asked).__name__}.{capability} is false")
        if broker.priorities < getattr(test, "needs_priorities", 1):
            pytest.skip(f"{type(broker).__name__}.priorities is {broker.priorities}")
        if reason := self.not_promised.get(test.__name__):
            request.applymarker(pytest.mark.xfail(reason=reason, strict=True))

    def promises(self, test: str) -> bool:
        """Return True unless the test with this name is expected to fail."""
        return test not in self.not_promised

    @staticmethod
    def with_lease(broker: Broker, retry: float) -> Broker:
        """Set the leases of a broker to *retry* seconds and its fetches to ten packages; return the broker."""
        broker.settings = dataclasses.replace(broker.settings, retry=retry, bulk=10)
        return broker


def text(package: str | bytes) -> str:
    """Return a package as the text that was sent."""
    return package.decode() if isinstance(package, bytes) else package


def take(broker: Broker, within: float | None = None) -> Delivery:
    """Return the next delivery; wait up to *within* seconds, by default `TIMEOUT_SECONDS`."""
    within = TIMEOUT_SECONDS if within is None else within
    deadline = time.monotonic() + within
    while True:
        found = broker.dequeue_many(1, 0.2)
        if found:
            return found[0]
        assert time.monotonic() < deadline, f"nothing came within {within:g} s"


def take_many(broker: Broker, count: int, within: float | None = None) -> list[Delivery]:
    """Return the next *count* deliveries; wait up to *within* seconds, by default `TIMEOUT_SECONDS`."""
    within = TIMEOUT_SECONDS if within is None else within
    deadline = time.monotonic() + within
    found: list[Delivery] = []
    while len(found) < count:
        found += broker.dequeue_many(count - len(found), 0.2)
        assert time.monotonic() < deadline, f"{len(found)} of {count} came within {within:g} s"
    return found


def tolerance(broker: Broker) -> float:
    """Return the number of seconds by which the broker may be late on a busy machine."""
    return broker.precision + BUSY_SECONDS


def best_measurement(measure: Callable[[], float], limit: float) -> float:
    """Return the first of several measurements that is at most *limit*, or the smallest of them."""
    measured = []
    while not measured or (measured[-1] > limit and len(measured) < MAX_MEASUREMENTS):
        measured.append(measure())
    return min(measured)


def nothing_comes(broker: Broker, within: float = 0.2) -> bool:
    """Return True if no package arrives for *within* seconds."""
    deadline = time.monotonic() + within
    while (left := deadline - time.monotonic()) > 0:
        if broker.dequeue_many(1, left):
            return False
    return True
