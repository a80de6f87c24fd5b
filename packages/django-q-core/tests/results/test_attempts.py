"""A task knows which attempt at it is being made."""

from __future__ import annotations

import asyncio

import pytest
from django.core.cache import cache
from django_q.brokers.memory import MemoryBroker
from django_q.context import current_task
from django_q.dispatch import Finisher
from django_q.execution import Executor
from django_q.models import Task
from django_q.package import new_package
from django_q.results.attempts import attempt_of
from django_q.settings import ClusterSettings

ATTEMPTS: list[int] = []
SETTINGS = ClusterSettings(name="attempts", broker_class="django_q.brokers.memory.MemoryBroker")


def third_time():
    ATTEMPTS.append(current_task().attempt)
    if len(ATTEMPTS) < 3:
        raise ValueError("not yet")
    return len(ATTEMPTS)


async def third_time_awaited():
    await asyncio.sleep(0)
    return third_time()


def hook(task):
    ATTEMPTS.append(current_task().attempt)


@pytest.fixture(autouse=True)
def broker():
    ATTEMPTS.clear()
    cache.clear()
    broker = MemoryBroker(list_key="attempts", settings=SETTINGS)
    yield broker
    broker.delete_queue()


def attempt(broker, package, times=1) -> None:
    executor, finisher = Executor(SETTINGS), Finisher(SETTINGS, broker)
    for _ in range(times):
        finisher.finish([executor.execute(package)])


@pytest.mark.django_db
@pytest.mark.parametrize("option", [{}, {"save": True}, {"save": False}, {"cached": True}, {"cached": 60}])
def test_attempts_are_counted(broker, option):
    attempt(broker, new_package(third_time, **option), times=3)
    assert ATTEMPTS == [1, 2, 3]


@pytest.mark.django_db
@pytest.mark.parametrize("option", [{}, {"cached": True}])
@pytest.mark.parametrize(
    ("counts", "expected"),
    [
        ([{"lapses": 1}, {"lapses": 0}, {"lapses": 2}], [2, 3, 6]),
        ([{"deliveries": 2}, {"deliveries": 3}, {"deliveries": 6}], [2, 3, 6]),
    ],
)
def test_attempts_that_nobody_could_record_are_counted(broker, option, counts, expected):
    package, finisher = new_package(third_time, **option), Finisher(SETTINGS, broker)
    for count in counts:
        finisher.finish([Executor(SETTINGS).execute(package, **count)])
    assert expected == ATTEMPTS


@pytest.mark.django_db(transaction=True)
def test_coroutine_is_told(broker):
    attempt(broker, new_package(third_time_awaited), times=3)
    assert ATTEMPTS == [1, 2, 3]


@pytest.mark.django_db
@pytest.mark.parametrize("option", [{}, {"save": False}])
def test_hook_is_told_which_attempt_it_follows(broker, option):
    package = new_package("math.floor", ("x",), hook=f"{__name__}.hook", **option)
    attempt(broker, package, times=2)
    attempt(broker, dict(package, args=(1.5,)))
    assert ATTEMPTS == [1, 2, 3]


@pytest.mark.django_db
def test_attempt_after_a_success_is_another(broker):
    package = new_package("math.floor", (1.5,))
    attempt(broker, package)
    assert attempt_of(package, SETTINGS) == 2


@pytest.mark.django_db
def test_who_does_not_ask_pays_nothing(django_assert_num_queries):
    with django_assert_num_queries(0):
        Executor(SETTINGS).execute(new_package("math.floor", (1.5,)))


@pytest.mark.django_db
def test_it_is_looked_up_once(django_assert_num_queries):
    with django_assert_num_queries(1):
        outcome = Executor(SETTINGS).execute(new_package(asks_twice))
    assert outcome.success
    assert not Task.objects.exists()


def asks_twice():
    assert current_task().attempt == current_task().attempt == 1
