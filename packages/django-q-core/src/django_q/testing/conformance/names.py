"""Promises about names: each cluster name has its own queue."""

# ruff: noqa: D102 - a test is documented by its name

from __future__ import annotations

from contextlib import ExitStack, contextmanager
from typing import TYPE_CHECKING

from .suite import MakeBroker, Suite, nothing_comes, take, text

if TYPE_CHECKING:
    from collections.abc import Iterator, Sequence

    from django_q.brokers import Broker


class NamePromises(Suite):
    """Names are not changed. A product that restricts names lists these tests in `not_promised`."""

    def test_names_that_differ_in_case_are_separate(self, make_broker: MakeBroker, list_key: str) -> None:
        self._check_separate(make_broker, [f"{list_key}-mail", f"{list_key}-MAIL"])

    def test_names_that_differ_at_their_end_are_separate(self, make_broker: MakeBroker, list_key: str) -> None:
        longest = list_key.ljust(self.longest_name, "x")
        self._check_separate(make_broker, [longest, longest[:-1], longest[:-1] + "y"])

    def test_names_with_spaces_are_separate(self, make_broker: MakeBroker, list_key: str) -> None:
        self._check_separate(make_broker, [f"{list_key} a b", f"{list_key}ab", f"{list_key} a  b"])

    def test_names_with_punctuation_are_separate(self, make_broker: MakeBroker, list_key: str) -> None:
        names = [f"{list_key}{mark}a" for mark in ("-", "_", ".", ":", "/", "%", "{", "}", "'", '"', "*", "?")]
        self._check_separate(make_broker, names)

    def test_names_in_any_script_are_separate(self, make_broker: MakeBroker, list_key: str) -> None:
        names = [f"{list_key}-{name}" for name in ("Größe-任务-🚀", "Grosse-任务-🚀", "Größe")]
        self._check_separate(make_broker, names)

    def test_names_equal_in_a_collation_are_separate(self, make_broker: MakeBroker, list_key: str) -> None:
        """Collations of databases may ignore spaces at the end, accents, and differences between emoji."""
        names = [f"{list_key}-{name}" for name in ("a", "a ", "e", "é", "e\u0301", "🚀", "🐢")]
        self._check_separate(make_broker, names)

    def test_longest_name_has_dead_letters(self, make_broker: MakeBroker, list_key: str) -> None:
        with self._brokers(make_broker, [list_key.ljust(self.longest_name, "x")]) as [broker]:
            broker.enqueue("unreadable")
            broker.move_to_dead_letters(take(broker))
            assert broker.dead_size() == 1
            assert broker.requeue_dead() == 1
            assert text(take(broker).package) == "unreadable"

    def _check_separate(self, make_broker: MakeBroker, names: Sequence[str]) -> None:
        """Send each queue its name and fetch in reverse order, which detects a queue that serves several names."""
        with self._brokers(make_broker, names) as brokers:
            for name, broker in zip(names, brokers, strict=True):
                broker.enqueue(name)
            assert [text(take(broker).package) for broker in reversed(brokers)] == list(reversed(names))
            assert all(nothing_comes(broker, within=0.05) for broker in brokers)

    @contextmanager
    def _brokers(self, make_broker: MakeBroker, names: Sequence[str]) -> Iterator[list[Broker]]:
        with ExitStack() as stack:
            brokers = [self.with_lease(make_broker(name), 60) for name in names]
            for broker in brokers:
                stack.callback(broker.delete_queue)
            yield brokers
