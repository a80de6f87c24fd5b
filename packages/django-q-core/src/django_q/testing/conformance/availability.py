"""Promises about availability, processes and statistics."""

# ruff: noqa: D102 - a test is documented by its name

from __future__ import annotations

import os
import pickle
import signal
import traceback
import warnings
from contextlib import ExitStack, contextmanager
from functools import partial
from typing import TYPE_CHECKING, Any

import pytest

from django_q.exceptions import BrokerUnavailable
from django_q.testing.conformance.suite import LONG_LEASE_SECONDS, TIMEOUT_SECONDS, Suite, needs, take, take_many, text
from django_q.testing.eventually import eventually

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator
    from pathlib import Path

    from django_q.brokers import Broker, Delivery

PACKAGE_COUNT = 20
"""Number of packages that each of two concurrent processes sends."""

HANDOVER_COUNT = 5
"""Number of packages that one process sends while another waits for each."""


class AvailabilityPromises(Suite):
    """A broker reports an unavailable server, and reconnects to it."""

    def test_ping_reaches_the_server(self, broker: Broker) -> None:
        assert broker.ping() is True

    def test_info_names_the_product(self, broker: Broker) -> None:
        assert broker.info()

    def test_ping_without_a_server_is_false(self, broker: Broker, server: Any) -> None:
        self._end(server)
        try:
            assert broker.ping() is False
        finally:
            server.start()

    def test_sending_without_a_server_raises_unavailable(self, broker: Broker, server: Any) -> None:
        broker.ping()
        self._end(server)
        try:
            with pytest.raises(BrokerUnavailable):
                broker.enqueue("package")
        finally:
            server.start()

    def test_fetching_without_a_server_raises_unavailable(self, broker: Broker, server: Any) -> None:
        broker.dequeue_many(1, 0.1)
        self._end(server)
        try:
            with pytest.raises(BrokerUnavailable):
                broker.dequeue_many(1, 0.5)
        finally:
            server.start()

    def test_broker_reconnects_to_a_restarted_server(self, broker: Broker, server: Any) -> None:
        broker.enqueue("before")
        self._end(server)
        server.start()
        eventually(broker.ping, TIMEOUT_SECONDS)
        broker.enqueue("after")
        assert [text(found.package) for found in take_many(broker, 2)] == ["before", "after"]

    @needs("supports_receipts")
    def test_lease_outlives_a_restart(self, broker: Broker, server: Any) -> None:
        broker.enqueue("package")
        mine = take(broker)
        self._end(server)
        server.start()
        eventually(broker.ping, TIMEOUT_SECONDS)
        assert broker.acknowledge(mine.ack_id) is not False

    def _end(self, server: Any) -> None:
        if server is None:
            pytest.skip(f"{type(self).__name__} has no fixture server")
        server.stop()


class ProcessPromises(Suite):
    """A broker works in each process that inherits or unpickles it."""

    def test_disconnected_broker_connects_again(self, broker: Broker) -> None:
        broker.enqueue("package")
        broker.disconnect()
        assert text(take(broker).package) == "package"

    def test_pickled_broker_reaches_the_same_queue(self, broker: Broker) -> None:
        copy = pickle.loads(pickle.dumps(broker))
        assert (type(copy), copy.list_key, copy.settings) == (type(broker), broker.list_key, broker.settings)
        broker.enqueue("package")
        assert text(take(copy).package) == "package"

    @needs("shared")
    def test_parent_works_after_its_child(self, broker: Broker) -> None:
        broker.prepare(broker.settings)
        broker.enqueue("before")
        with forked(lambda: broker.enqueue("child")) as exit_code:
            assert exit_code() == 0
        broker.enqueue("parent")
        assert {text(found.package) for found in take_many(broker, 3)} == {"before", "child", "parent"}

    @needs("shared")
    def test_forked_children_share_no_connection(self, broker: Broker, tmp_path: Path) -> None:
        """Use an inherited broker in two processes. On a shared socket, each would read the other's replies."""
        broker.prepare(broker.settings)
        broker.enqueue("before")
        broker.acknowledge(take(broker).ack_id)
        files = [tmp_path / "one", tmp_path / "two"]
        with ExitStack() as stack:
            children = [stack.enter_context(forked(partial(send_and_consume, broker, file))) for file in files]
            assert [exit_code() for exit_code in children] == [0, 0]
        found = [package for file in files for package in file.read_text().splitlines()]
        assert sorted(found) == sorted(f"{file.name} {number}" for file in files for number in range(PACKAGE_COUNT))

    @needs("shared", "blocks")
    def test_forked_child_receives_packages_of_another(self, broker: Broker, tmp_path: Path) -> None:
        """Wait in one process and send in another. On a shared socket, the wait would delay the second request."""
        broker.prepare(broker.settings)
        broker.enqueue("before")
        broker.acknowledge(take(broker).ack_id)
        with ExitStack() as stack:
            jobs = [partial(job, broker, tmp_path) for job in (wait_for_each, send_each)]
            children = [stack.enter_context(forked(job)) for job in jobs]
            assert [exit_code() for exit_code in children] == [0, 0]


class StatisticsPromises(Suite):
    """Statistics of clusters are kept for a limited time."""

    def test_statistics_are_found_by_key(self, broker: Broker) -> None:
        broker.set_stat(self._key(broker, "a"), "value", LONG_LEASE_SECONDS)
        assert text(broker.get_stat(self._key(broker, "a")) or "") == "value"

    def test_statistics_are_found_by_pattern(self, broker: Broker) -> None:
        for name in ("a", "b"):
            broker.set_stat(self._key(broker, name), f"value {name}", LONG_LEASE_SECONDS)
        found = {text(value) for value in broker.get_stats(self._key(broker, "*"))}
        assert found == {"value a", "value b"}

    def test_newer_statistics_replace_older_ones(self, broker: Broker) -> None:
        for value in ("older", "newer"):
            broker.set_stat(self._key(broker, "a"), value, LONG_LEASE_SECONDS)
        assert text(broker.get_stat(self._key(broker, "a")) or "") == "newer"
        assert [text(value) for value in broker.get_stats(self._key(broker, "*"))] == ["newer"]

    def test_statistics_of_other_keys_are_not_returned(self, broker: Broker) -> None:
        broker.set_stat(self._key(broker, "a"), "ours", LONG_LEASE_SECONDS)
        broker.set_stat(f"not-{self._key(broker, 'a')}", "theirs", LONG_LEASE_SECONDS)
        assert [text(value) for value in broker.get_stats(self._key(broker, "*"))] == ["ours"]

    def test_another_broker_finds_the_statistics(self, broker: Broker, other: Broker) -> None:
        broker.set_stat(self._key(broker, "a"), "value", LONG_LEASE_SECONDS)
        assert [text(value) for value in other.get_stats(self._key(broker, "*"))] == ["value"]

    def test_statistics_expire(self, broker: Broker) -> None:
        broker.set_stat(self._key(broker, "a"), "value", 1)
        eventually(lambda: broker.get_stat(self._key(broker, "a")) is None, TIMEOUT_SECONDS)
        assert broker.get_stats(self._key(broker, "*")) == []

    def test_unknown_statistics_are_none(self, broker: Broker) -> None:
        assert broker.get_stat(self._key(broker, "unknown")) is None

    @staticmethod
    def _key(broker: Broker, name: str) -> str:
        return f"{broker.settings.q_stat}:{broker.list_key}:{name}"


def send_and_consume(broker: Broker, file: Path) -> None:
    """Send packages, consume all that wait, and write them into a file."""
    for number in range(PACKAGE_COUNT):
        broker.enqueue(f"{file.name} {number}")
    found: list[Delivery] = []
    while taken := broker.dequeue_many(3, 0.5):
        assert broker.acknowledge_many([each.ack_id for each in taken]) == []
        found += taken
    file.write_text("\n".join(text(each.package) for each in found))


def wait_for_each(broker: Broker, folder: Path) -> None:
    """Fetch packages one by one. Before each fetch, create a file that tells the sender."""
    for number in range(HANDOVER_COUNT):
        (folder / str(number)).touch()
        [found] = broker.dequeue_many(1, TIMEOUT_SECONDS)
        assert text(found.package) == str(number)
        broker.acknowledge(found.ack_id)


def send_each(broker: Broker, folder: Path) -> None:
    """Send packages one by one, each when the receiver has created its file."""
    for number in range(HANDOVER_COUNT):
        eventually((folder / str(number)).exists, TIMEOUT_SECONDS, every=0.001)
        broker.enqueue(str(number))


@contextmanager
def forked(job: Callable[[], object]) -> Iterator[Callable[[], int]]:
    """Run a job in a child, which is killed at the end of the block. Yield a function that returns its exit code."""
    if not hasattr(os, "fork"):
        pytest.skip("this system does not fork")
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", DeprecationWarning)  # no thread of the tests holds a lock that a child needs
        child = os.fork()
    if not child:
        _run_and_exit(job)
    ended: list[int] = []

    def exit_code() -> int:
        eventually(has_ended, TIMEOUT_SECONDS)
        return os.waitstatus_to_exitcode(ended[0])

    def has_ended() -> bool:
        pid, status = os.waitpid(child, os.WNOHANG)
        ended.extend([status] if pid else [])
        return bool(pid)

    try:
        yield exit_code
    finally:
        if not ended:
            os.kill(child, signal.SIGKILL)
            os.waitpid(child, 0)


def _run_and_exit(job: Callable[[], object]) -> None:
    """Run the job of the child. It never returns, because the child would run the tests of the parent."""
    try:
        job()
    except BaseException:  # noqa: BLE001 - a child that raises would continue the tests of the parent
        traceback.print_exc()
        os._exit(1)
    os._exit(0)
