"""`manage.py qdead`."""

from __future__ import annotations

from io import StringIO

import pytest
from django.core.management import call_command
from django_q.brokers import get_broker


@pytest.fixture
def dead():
    """Return a function that makes dead letters."""

    def make(count: int) -> None:
        for _ in range(count):
            broker.enqueue("no package")
            broker.move_to_dead_letters(broker.dequeue_many(1, 0)[0])

    broker = get_broker()
    broker.delete_queue()
    yield make
    broker.delete_queue()


def output(*arguments: str) -> str:
    out = StringIO()
    call_command("qdead", *arguments, stdout=out)
    return out.getvalue()


@pytest.mark.parametrize(
    ("count", "counted", "requeued"),
    [
        (0, "0 dead letters.\n", "0 dead letters are queued again.\n"),
        (1, "1 dead letter.\n", "1 dead letter is queued again.\n"),
        (2, "2 dead letters.\n", "2 dead letters are queued again.\n"),
    ],
)
def test_dead_letters_are_counted_in_words(dead, count, counted, requeued):
    dead(count)
    assert output() == counted
    assert output("--requeue") == requeued
    assert get_broker().queue_size() == count
