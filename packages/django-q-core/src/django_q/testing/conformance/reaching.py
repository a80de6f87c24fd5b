"""Promises: how a broker is reached, from each process, and what it says when it is not."""

# ruff: noqa: D102 - the name of a promise says it

from __future__ import annotations

import os
import pickle
import traceback
from typing import TYPE_CHECKING, Any

import pytest

from django_q.exceptions import BrokerUnavailable
from django_q.testing.eventually import eventually

from .suite import PATIENT, SLACK, Suite, needs, take, take_many, text

if TYPE_CHECKING:
    from django_q.brokers import Broker


class ReachingPromises(Suite):
    """A broker says whether its server is there, and comes back with it."""

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

    def test_sending_without_a_server_says_so(self, broker: Broker, server: Any) -> None:
        broker.ping()
        self._end(server)
        try:
            with pytest.raises(BrokerUnavailable):
                broker.enqueue("package")
        finally:
            server.start()

    def test_fetching_without_a_server_says_so(self, broker: Broker, server: Any) -> None:
        broker.dequeue_many(1, 0.1)
        self._end(server)
        try:
            with pytest.raises(BrokerUnavailable):
                broker.dequeue_many(1, 0.5)
        finally:
            server.start()

    def test_broker_comes_back_with_its_server(self, broker: Broker, server: Any) -> None:
        broker.enqueue("before")
        self._end(server)
        server.start()
        eventually(broker.ping, SLACK)
        broker.enqueue("after")
        assert [text(found.package) for found in take_many(broker, 2)] == ["before", "after"]

    @needs("supports_receipts")
    def test_lease_outlives_a_restart(self, broker: Broker, server: Any) -> None:
        broker.enqueue("package")
        mine = take(broker)
        self._end(server)
        server.start()
        eventually(broker.ping, SLACK)
        assert broker.acknowledge(mine.ack_id) is not False

    def _end(self, server: Any) -> None:
        if server is None:
            pytest.skip(f"{type(self).__name__} has no fixture server")
        server.stop()


class ProcessPromises(Suite):
    """A broker works in each process it gets into."""

    def test_broker_that_was_disconnected_connects_anew(self, broker: Broker) -> None:
        broker.enqueue("package")
        broker.disconnect()
        assert text(take(broker).package) == "package"

    def test_pickled_broker_reaches_the_same_queue(self, broker: Broker) -> None:
        copy = pickle.loads(pickle.dumps(broker))
        assert (type(copy), copy.list_key, copy.settings) == (type(broker), broker.list_key, broker.settings)
        broker.enqueue("package")
        assert text(take(copy).package) == "package"

    @needs("shared")
    def test_forked_child_works_beside_its_parent(self, broker: Broker) -> None:
        if not hasattr(os, "fork"):
            pytest.skip("this system does not fork")
        broker.ping()
        broker.prepare(broker.settings)
        child = os.fork()
        if not child:
            _send_and_exit(broker)
        for number in range(20):
            broker.enqueue(f"parent {number}")
        _pid, status = os.waitpid(child, 0)
        assert os.waitstatus_to_exitcode(status) == 0
        names = {text(found.package).partition(" ")[0] for found in take_many(broker, 40)}
        assert names == {"child", "parent"}

    @needs("shared")
    def test_parent_works_after_its_child(self, broker: Broker) -> None:
        if not hasattr(os, "fork"):
            pytest.skip("this system does not fork")
        broker.ping()
        broker.prepare(broker.settings)
        child = os.fork()
        if not child:
            _send_and_exit(broker)
        os.waitpid(child, 0)
        broker.enqueue("parent")
        assert len(take_many(broker, 21)) == 21


class StatisticsPromises(Suite):
    """Clusters leave their statistics for a moment."""

    def test_statistics_are_found_by_key(self, broker: Broker) -> None:
        broker.set_stat(self._key(broker, "a"), "value", PATIENT)
        assert text(broker.get_stat(self._key(broker, "a")) or "") == "value"

    def test_statistics_are_found_by_pattern(self, broker: Broker) -> None:
        for name in ("a", "b"):
            broker.set_stat(self._key(broker, name), f"value {name}", PATIENT)
        found = {text(value) for value in broker.get_stats(self._key(broker, "*"))}
        assert found == {"value a", "value b"}

    def test_newer_statistics_replace_older_ones(self, broker: Broker) -> None:
        for value in ("older", "newer"):
            broker.set_stat(self._key(broker, "a"), value, PATIENT)
        assert text(broker.get_stat(self._key(broker, "a")) or "") == "newer"
        assert [text(value) for value in broker.get_stats(self._key(broker, "*"))] == ["newer"]

    def test_statistics_of_others_are_not_among_ours(self, broker: Broker) -> None:
        broker.set_stat(self._key(broker, "a"), "ours", PATIENT)
        broker.set_stat(f"not-{self._key(broker, 'a')}", "theirs", PATIENT)
        assert [text(value) for value in broker.get_stats(self._key(broker, "*"))] == ["ours"]

    def test_another_broker_finds_the_statistics(self, broker: Broker, other: Broker) -> None:
        broker.set_stat(self._key(broker, "a"), "value", PATIENT)
        assert [text(value) for value in other.get_stats(self._key(broker, "*"))] == ["value"]

    def test_statistics_are_forgotten(self, broker: Broker) -> None:
        broker.set_stat(self._key(broker, "a"), "value", 1)
        eventually(lambda: broker.get_stat(self._key(broker, "a")) is None, SLACK)
        assert broker.get_stats(self._key(broker, "*")) == []

    def test_unknown_statistics_are_none(self, broker: Broker) -> None:
        assert broker.get_stat(self._key(broker, "nobody")) is None

    @staticmethod
    def _key(broker: Broker, name: str) -> str:
        return f"{broker.settings.q_stat}:{broker.list_key}:{name}"


def _send_and_exit(broker: Broker) -> None:
    """The child's part: it never returns, lest it run the parent's tests."""
    try:
        for number in range(20):
            broker.enqueue(f"child {number}")
    except BaseException:  # noqa: BLE001 - a child that raises would go on as the parent
        traceback.print_exc()
        os._exit(1)
    os._exit(0)
