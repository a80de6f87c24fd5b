"""Task, row, hook and cache have the attempt number of the delivery."""

from __future__ import annotations

import asyncio

import pytest
from django.core.cache import cache
from django_q.brokers.memory import MemoryBroker
from django_q.context import current_task
from django_q.execution import Executor
from django_q.finishing import Finisher
from django_q.models import Task
from django_q.settings import ClusterSettings
from django_q.wire.package import new_package

ATTEMPTS: list[int] = []
SETTINGS = ClusterSettings(name="attempts", broker_class="django_q.brokers.memory.MemoryBroker")


def third_time():
    ATTEMPTS.append(current_task().attempt)
    if current_task().attempt < 3:
        raise ValueError("not yet")
    return current_task().attempt


async def third_time_awaited():
    await asyncio.sleep(0)
    return third_time()


def hook(task):
    ATTEMPTS.append((current_task().attempt, task.attempt_count))
    task.group = "seen"
    task.save()


@pytest.fixture(autouse=True)
def broker():
    ATTEMPTS.clear()
    cache.clear()
    broker = MemoryBroker(list_key="attempts", settings=SETTINGS)
    yield broker
    broker.delete_queue()


def make_attempts(broker, *packages) -> None:
    executor, finisher = Executor(SETTINGS), Finisher(SETTINGS, broker)
    for attempt, package in enumerate(packages, 1):
        finisher.finish([executor.execute(package, attempt=attempt)])


@pytest.mark.django_db
@pytest.mark.parametrize("option", [{}, {"save": True}, {"save": False}, {"cached": True}, {"cached": 60}])
def test_task_knows_its_attempt(broker, option):
    package = new_package(third_time, **option)
    make_attempts(broker, package, package, package)
    assert ATTEMPTS == [1, 2, 3]


@pytest.mark.django_db(transaction=True)
def test_coroutine_knows_its_attempt(broker):
    package = new_package(third_time_awaited)
    make_attempts(broker, package, package, package)
    assert ATTEMPTS == [1, 2, 3]


@pytest.mark.django_db
def test_attempt_costs_no_query(django_assert_num_queries):
    with django_assert_num_queries(0):
        outcome = Executor(SETTINGS).execute(new_package(third_time), attempt=3)
    assert (outcome.success, outcome.attempt, ATTEMPTS) == (True, 3, [3])


@pytest.mark.django_db
@pytest.mark.parametrize("option", [{}, {"save": True}])
def test_hook_sees_the_attempt_and_saves_it(broker, option):
    package = new_package("math.floor", ("x",), hook=f"{__name__}.hook", **option)
    make_attempts(broker, package, package, dict(package, args=(1.5,)))
    assert ATTEMPTS == [(1, 1), (2, 2), (3, 3)]
    task = Task.objects.get()
    assert (task.group, task.success, task.attempt_count) == ("seen", True, 3)


@pytest.mark.django_db
def test_task_whose_worker_died_has_its_attempt():
    outcome = Executor(SETTINGS).builder.failed(new_package(third_time), "killed", attempt=4)
    Finisher(SETTINGS, None).finish([outcome])
    assert Task.objects.get().attempt_count == 4
