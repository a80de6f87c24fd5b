"""`manage.py qdead` lists, shows and deletes dead letters."""

from __future__ import annotations

from io import StringIO

import pytest
from django.core.management import CommandError, call_command
from django_q.brokers import get_broker
from django_q.brokers.dead_letters import dead_letters_of, requeue
from django_q.settings import current_settings
from django_q.wire.codec import PackageCodec
from django_q.wire.package import new_package


@pytest.fixture
def broker():
    """Broker with two dead letters: one with a foreign signature, and one of a task."""
    broker = get_broker()
    broker.delete_queue()
    task = new_package("shop.tasks.ship", (1,)) | {"name": "four-words"}
    for package in ("foreign", PackageCodec.of(current_settings()).dumps(task)):
        broker.enqueue(package)
        [delivery] = broker.dequeue_many(1, 0)
        broker.move_to_dead_letters(delivery)
    yield broker
    broker.delete_queue()


def printed(*options: str) -> str:
    """Run the command; return what it prints."""
    out = StringIO()
    call_command("qdead", *options, stdout=out)
    return out.getvalue()


def test_number_is_printed_and_requeued(broker):
    assert printed() == "2 dead letters.\n"
    assert printed("--requeue", "--limit", "1") == "1 dead letter is queued again.\n"
    assert (broker.dead_size(), broker.queue_size()) == (1, 1)


def test_dead_letters_are_listed_with_task_or_reason(broker):
    first, second = printed("--list").splitlines()
    assert "foreign signature" in first
    assert "four-words  shop.tasks.ship" in second
    assert printed("--list", "--limit", "1").splitlines() == [first]
    assert broker.dead_size() == 2


def test_one_dead_letter_is_shown(broker):
    _, letter = dead_letters_of(broker)
    shown = printed("--show", letter.id)
    assert "func: shop.tasks.ship" in shown
    assert letter.package in shown


def test_chosen_dead_letters_are_deleted(broker):
    first, second = dead_letters_of(broker)
    assert printed("--delete", first.id) == "1 dead letter is deleted.\n"
    assert [letter.id for letter in dead_letters_of(broker)] == [second.id]


@pytest.mark.parametrize("option", ["--show", "--delete"])
def test_unknown_id_is_an_error(broker, option):
    with pytest.raises(CommandError, match="no dead letter 'unknown'"):
        printed(option, "unknown")
    assert broker.dead_size() == 2


def test_one_dead_letter_is_requeued(broker):
    _, letter = dead_letters_of(broker)
    assert requeue(broker, letter)
    assert not requeue(broker, letter)
    assert [delivery.package for delivery in broker.dequeue_many(2, 0)] == [letter.package]
    assert broker.dead_size() == 1
