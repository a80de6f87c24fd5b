"""Broker → workers, without a process."""

from __future__ import annotations

import pytest
from django_q.brokers.memory import MemoryBroker
from django_q.cluster.channels import Bell, Channel
from django_q.cluster.lifeline import Lifeline
from django_q.cluster.messages import TaskMessage
from django_q.cluster.process import Wiring
from django_q.cluster.pusher import Pusher
from django_q.cluster.state import ClusterState
from django_q.settings import ClusterSettings


@pytest.fixture
def pusher():
    settings = ClusterSettings(name="pusher", workers=2, queue_limit=8)
    wiring = Wiring(
        settings=settings,
        cluster_id="test",
        state=ClusterState(2),
        tasks=Channel(),
        results=Channel(),
        hungry=Bell(),
        alarm=Bell(),
        lifeline=Lifeline(),
    )
    pusher = Pusher(wiring)
    pusher.broker = MemoryBroker("pusher", settings=settings)
    yield pusher
    pusher.broker.delete_queue()


def take(pusher: Pusher, worker: int) -> int:
    """Let a worker begin the next task."""
    message = pusher.tasks.receive(block=False)
    number = TaskMessage.unpack(message).number
    pusher.state.slots[worker].begin(message, 0.0, number)
    return number


def test_fetch_fills_the_queue_and_waits_until_most_of_it_is_taken(pusher):
    pusher.broker.enqueue_many(["package"] * 20)
    pusher.step()
    assert pusher.state.waiting == 8
    for _ in range(5):
        take(pusher, 0)
    assert pusher._room() < 8 - pusher.low
    take(pusher, 1)
    pusher.step()
    assert pusher.state.waiting == 8


def test_finished_tasks_are_not_remembered(pusher):
    for _ in range(200):
        pusher.broker.enqueue_many(["package"] * 8)
        pusher.step()
        for worker in (0, 1) * 4:
            take(pusher, worker)
    assert len(pusher.held) <= 2 * 8


def test_task_between_the_queue_and_the_desk_is_remembered(pusher):
    pusher.broker.enqueue_many(["package"] * 4)
    pusher.step()
    slow = TaskMessage.unpack(pusher.tasks.receive(block=False)).number  # worker 0 has it in hand, and dawdles
    for _ in range(3):
        take(pusher, 1)
    pusher._forget_passed()
    assert slow in pusher.held
