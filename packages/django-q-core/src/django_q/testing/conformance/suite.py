"""What the groups of promises share: the brokers under test, and how a test is chosen."""

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

PATIENT = 60.0
"""Seconds of lease in tests in which none may end."""

DELAY = 1.0
"""Seconds of the delays whose end is waited for."""

TIMEOUT = 20.0
"""Seconds after which a test gives up; it promises nothing about time."""

BUSY = 2.0
"""Seconds that a busy machine adds to the precision of a broker."""

EARLY = 0.1
"""Seconds by which clocks of two machines, or two clocks of one, may differ."""

TRIES = 3
"""Number of measurements of which one has to be in time, since a machine may stall."""


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
    lease_of_sender: ClassVar[bool] = False
    """True if the `retry` of the sender is the length of a lease, and not that of the consumer."""
    beside_leases: ClassVar[bool] = True
    """True if packages are offered while others of the queue are under a lease."""
    knows_ended_leases: ClassVar[bool] = True
    """True if a lease that has ended is reported as lost even if no other consumer has the package yet."""
    large_batch: ClassVar[int] = 1_100
    """Number of packages of a batch that the product does not take in one request."""
    large_lease_batch: ClassVar[int] = 1_100
    """Number of leases that tests renew or release together, if it is less than `large_batch`."""
    steps: ClassVar[int] = 150
    """Number of random operations, unless the environment variable `DJANGO_Q_STEPS` sets another."""
    longest_name: ClassVar[int] = 95
    """Characters of the longest name of a cluster that the product takes, so that `<name>-dead` fits, too."""
    client_errors: ClassVar[Sequence[tuple[Exception, type[BrokerError]]]] = ()
    """Errors of the product's client, each with the class that a broker has to raise instead: `BrokerUnavailable` if
    the same request may succeed later, `PackageTooLarge` or `BrokerError` if the request itself is rejected."""
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
    def too_large(self) -> int | None:
        """Bytes of a package that the product refuses for its size; None if it refuses none that fits the memory."""
        return None

    @pytest.fixture
    def client_raises(self) -> ClientRaises | None:
        """Have the client of a broker raise an error in place of each request, until the end of a `with` block."""
        return None

    @pytest.fixture
    def hold_as_old(self) -> HoldAsOld | None:
        """Take the next package of a queue as a consumer of a public edition, for *retry* seconds, and return it.

        None where packages are not shared with public editions, or these do not leave a package with the product.
        """
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

    def promises(self, test: str) -> bool:
        """Return True unless the test of that name is one of those that are expected to fail."""
        return test not in self.not_promised

    @staticmethod
    def with_lease(broker: Broker, retry: float) -> Broker:
        """The broker, with leases of *retry* seconds and fetches of up to ten."""
        broker.settings = dataclasses.replace(broker.settings, retry=retry, bulk=10)
        return broker


def text(package: str | bytes) -> str:
    """A package as it was sent."""
    return package.decode() if isinstance(package, bytes) else package


def take(broker: Broker, within: float | None = None) -> Delivery:
    """Return the next delivery; wait up to *within* seconds, which are `TIMEOUT` by default."""
    within = TIMEOUT if within is None else within
    deadline = time.monotonic() + within
    while True:
        found = broker.dequeue_many(1, 0.2)
        if found:
            return found[0]
        assert time.monotonic() < deadline, f"nothing came within {within:g} s"


def take_many(broker: Broker, count: int, within: float | None = None) -> list[Delivery]:
    """Return the next *count* deliveries; wait up to *within* seconds, which are `TIMEOUT` by default."""
    within = TIMEOUT if within is None else within
    deadline = time.monotonic() + within
    found: list[Delivery] = []
    while len(found) < count:
        found += broker.dequeue_many(count - len(found), 0.2)
        assert time.monotonic() < deadline, f"{len(found)} of {count} came within {within:g} s"
    return found


def tolerance(broker: Broker) -> float:
    """Return by how many seconds the broker may be late on a busy machine."""
    return broker.precision + BUSY


def at_best(measure: Callable[[], float], limit: float) -> float:
    """Return the first of a few measurements that is not above *limit*, or the smallest of them."""
    measured = []
    while not measured or (measured[-1] > limit and len(measured) < TRIES):
        measured.append(measure())
    return min(measured)


def nothing_comes(broker: Broker, within: float = 0.2) -> bool:
    """Does the queue stay empty for so long?"""
    deadline = time.monotonic() + within
    while (left := deadline - time.monotonic()) > 0:
        if broker.dequeue_many(1, left):
            return False
    return True
