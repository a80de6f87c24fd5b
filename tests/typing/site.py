"""A project whose types mypy and pyright check: `hatch run typing:check`. Each ignored line is an error in both."""

from __future__ import annotations

from datetime import UTC, datetime, timedelta
from typing import TYPE_CHECKING, Any, assert_type

from django_q.brokers import Broker, get_broker
from django_q.models import Schedule, Task
from django_q.monitor import Stat
from django_q.tasks import (
    AsyncTask,
    Chain,
    Iter,
    TaskHandle,
    aasync_task,
    async_bulk,
    async_chain,
    async_iter,
    async_task,
    cancel,
    fetch,
    result,
    schedule,
    scheduled,
)

if TYPE_CHECKING:
    from collections.abc import Sequence


def total(*prices: int) -> int:
    return sum(prices)


def report(task: Task) -> None:
    print(task.name, task.success, task.result)


@scheduled(cron="0 22 * * 1-5")
def close_the_books() -> None: ...


def send() -> None:
    task = async_task(total, 3, 4, hook=report, group="prices", timeout=30)
    assert_type(task, TaskHandle)
    identifier: str = task
    assert_type(result(identifier, wait=1000), Any)
    assert_type(fetch(task), Task | None)
    cancel(task)
    async_task("shop.tasks.total", 3, q_options={"delay": 5, "priority": 10})
    async_task()  # type: ignore[call-arg]
    async_task(42)  # type: ignore[arg-type]


def send_with_options() -> None:
    builder = async_task.options(delay=5, priority=10, track=True, group="prices", on_commit=True)
    assert_type(builder(total, 3, 4), TaskHandle)
    async_task.options(eta=datetime.now(UTC) + timedelta(hours=1))("shop.tasks.total", 3)
    async_task.options(dely=5)  # type: ignore[call-arg]
    async_task.options(priority="high")  # type: ignore[arg-type]
    async_task.options(track="yes")  # type: ignore[arg-type]


def send_many(prices: Sequence[int]) -> None:
    assert_type(async_bulk([(total, (price,), {}) for price in prices], group="prices"), list[str])
    async_iter(total, [(price,) for price in prices])
    async_chain([(total, (3, 4)), ("shop.tasks.total", (7,))], group="prices")
    async_bulk([total], grup="prices")  # type: ignore[call-arg]
    task = AsyncTask(total, 3, 4)
    task.run()
    chain, numbers = Chain(), Iter(total)
    chain.append(total, 3)
    numbers.append(3)


async def send_from_a_coroutine() -> None:
    task = await aasync_task(total, 3, 4)
    assert_type(task, TaskHandle)


def plan() -> None:
    made = schedule("shop.tasks.total", 3, schedule_type=Schedule.MINUTES, minutes=5, name="prices")
    assert_type(made, Schedule)


def look() -> None:
    assert_type(get_broker(), Broker)
    assert_type(get_broker().queue_size(), int)
    for stat in Stat.get_all():
        print(stat.status, stat.uptime())
