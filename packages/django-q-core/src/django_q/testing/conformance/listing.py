"""Promises about lists of packages."""

# ruff: noqa: D102 - a test is documented by its name

from __future__ import annotations

from typing import TYPE_CHECKING

from django_q.brokers.listing import PackageState
from django_q.testing.eventually import eventually

from .suite import (
    BUSY_SECONDS,
    DELAY_SECONDS,
    LONG_LEASE_SECONDS,
    TIMEOUT_SECONDS,
    MakeBroker,
    Suite,
    needs,
    needs_priorities,
    take,
    take_many,
    text,
)

if TYPE_CHECKING:
    from django_q.brokers import Broker

MAX_LISTED = 100
"""Maximum number of packages of a list in these tests."""


class ListingPromises(Suite):
    """Packages of each state are listed, and stay as they are."""

    @needs("supports_listing")
    def test_waiting_packages_are_listed_in_order(self, broker: Broker) -> None:
        sent = [f"package {number}" for number in range(5)]
        broker.enqueue_many(sent)
        eventually(lambda: len(listed(broker, PackageState.WAITING)) == 5, TIMEOUT_SECONDS)
        assert in_order(self, listed(broker, PackageState.WAITING)) == sent
        assert {each.seconds for each in broker.list_packages(PackageState.WAITING, MAX_LISTED)} == {0}

    @needs("supports_listing")
    @needs_priorities()
    def test_waiting_packages_are_listed_by_priority(self, broker: Broker) -> None:
        for priority in (-50, 0, 50, 0, 50, -50):
            broker.enqueue(f"{priority}", priority=priority)
        assert listed(broker, PackageState.WAITING) == ["50", "50", "0", "0", "-50", "-50"]

    @needs("supports_listing", "supports_delay")
    def test_delayed_packages_are_listed_by_their_time(self, broker: Broker) -> None:
        broker.enqueue("now")
        broker.enqueue("later", delay=2_000)
        broker.enqueue("sooner", delay=1_000)
        found = broker.list_packages(PackageState.DELAYED, MAX_LISTED)
        assert [each.package for each in found] == ["sooner", "later"]
        assert 1_000 - TIMEOUT_SECONDS < found[0].seconds <= 1_000
        assert listed(broker, PackageState.WAITING) == ["now"]

    @needs("supports_listing", "supports_renewal", "supports_delay")
    def test_package_released_for_later_is_listed(self, broker: Broker) -> None:
        broker.enqueue("package")
        broker.release(take(broker).ack_id, delay=1_000)
        assert listed(broker, PackageState.DELAYED) == ["package"]
        assert listed(broker, PackageState.LEASED) == []

    @needs("supports_listing", "supports_delay")
    def test_package_is_listed_as_waiting_after_its_delay(self, broker: Broker) -> None:
        broker.enqueue("package", delay=DELAY_SECONDS)
        eventually(lambda: take(broker).package, DELAY_SECONDS + TIMEOUT_SECONDS)
        assert listed(broker, PackageState.DELAYED) == []

    @needs("supports_listing", "supports_receipts")
    def test_leased_packages_are_listed(self, broker: Broker) -> None:
        broker.enqueue_many(["one", "two", "three"])
        held = {text(each.package): each.ack_id for each in take_many(broker, 2)}
        eventually(lambda: sorted(listed(broker, PackageState.LEASED)) == sorted(held), TIMEOUT_SECONDS)
        for each in broker.list_packages(PackageState.LEASED, MAX_LISTED):
            assert LONG_LEASE_SECONDS - TIMEOUT_SECONDS < each.seconds <= LONG_LEASE_SECONDS + BUSY_SECONDS
        assert listed(broker, PackageState.WAITING) == sorted({"one", "two", "three"} - held.keys())
        broker.acknowledge_many([*held.values()])
        assert listed(broker, PackageState.LEASED) == []

    @needs("supports_listing", "supports_dead_letters")
    def test_dead_letters_are_listed_by_their_age(self, broker: Broker) -> None:
        for package in ("one", "two", "three"):
            broker.enqueue(package)
            broker.move_to_dead_letters(take(broker))
        assert in_order(self, listed(broker, PackageState.DEAD)) == in_order(self, ["one", "two", "three"])
        assert listed(broker, PackageState.WAITING) == []

    @needs("supports_listing")
    def test_lists_are_read_in_pages(self, broker: Broker) -> None:
        broker.enqueue_many([f"package {number:02}" for number in range(12)])
        pages = [broker.list_packages(PackageState.WAITING, 5, offset) for offset in (0, 5, 10, 15)]
        assert [len(page) for page in pages] == [5, 5, 2, 0]
        assert len({each.package for page in pages for each in page}) == 12
        assert broker.list_packages(PackageState.WAITING, 0) == []

    @needs("supports_listing", "supports_receipts", "supports_delay")
    def test_lists_of_leased_and_delayed_are_read_in_pages(self, broker: Broker) -> None:
        for number in range(4):
            broker.enqueue(f"leased {number}")
        take_many(broker, 4)
        for number in range(4):
            broker.enqueue(f"delayed {number}", delay=1_000 + number)
        for state in (PackageState.LEASED, PackageState.DELAYED):
            pages = [broker.list_packages(state, 3, offset) for offset in (0, 3, 6)]
            assert [len(page) for page in pages] == [3, 1, 0]
            assert {each.package for page in pages for each in page} == {f"{state} {number}" for number in range(4)}

    @needs("supports_listing", "supports_receipts")
    def test_listed_packages_stay_as_they_are(self, broker: Broker) -> None:
        broker.enqueue_many(["one", "two"])
        held = take(broker)
        for state in PackageState:
            broker.list_packages(state, MAX_LISTED)
        if broker.supports_renewal:
            assert broker.renew([held.ack_id]) == []
        following = take(broker)
        assert {text(held.package), text(following.package)} == {"one", "two"}
        assert following.attempt == 1

    @needs("supports_listing")
    def test_lists_have_packages_of_their_queue_only(
        self, broker: Broker, make_broker: MakeBroker, list_key: str
    ) -> None:
        neighbour = make_broker(f"{list_key}-b")
        try:
            neighbour.enqueue("theirs")
            broker.enqueue("ours")
            assert listed(broker, PackageState.WAITING) == ["ours"]
        finally:
            neighbour.delete_queue()

    @needs("supports_listing")
    def test_packages_are_listed_unchanged(self, broker: Broker) -> None:
        sent = ["naïve · Größe · 任务 · 🚀", "  spaces around, a line\n", "x" * 100_000]
        broker.enqueue_many(sent)
        assert sorted(listed(broker, PackageState.WAITING)) == sorted(sent)


def listed(broker: Broker, state: PackageState) -> list[str]:
    """Return the packages of a state."""
    return [each.package for each in broker.list_packages(state, MAX_LISTED)]


def in_order(suite: Suite, packages: list[str]) -> list[str]:
    """Return packages as they are; sorted if the product keeps no order."""
    return packages if suite.in_order else sorted(packages)
