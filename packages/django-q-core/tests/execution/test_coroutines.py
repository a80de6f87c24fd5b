"""A coroutine runs in the task's thread, and so do its calls of the ORM."""

from __future__ import annotations

import asyncio
import gc
import os
import threading
import time
import warnings
from typing import TYPE_CHECKING

import pytest
from asgiref.sync import SyncToAsync, async_to_sync, sync_to_async
from django.contrib.auth.models import User
from django.db import connection, connections
from django.test import TestCase
from django_q.exceptions import TimeoutException
from django_q.execution.coroutines import run_coroutine
from django_q.execution.timeout import TaskTimer
from django_q.tasks import aasync_task, aresult, async_task, result

if TYPE_CHECKING:
    from django_q.models import Task

LONG_SECONDS = 30


async def thread_of_calls() -> set[int]:
    call = sync_to_async(threading.get_ident)
    return {await call(), *await asyncio.gather(*[call() for _ in range(5)])}


def test_calls_of_a_coroutine_run_in_its_thread() -> None:
    assert run_coroutine(thread_of_calls()) == {threading.get_ident()}


def test_calls_run_in_the_tasks_thread_inside_a_running_loop() -> None:
    def task() -> bool:
        return run_coroutine(thread_of_calls()) == {threading.get_ident()}

    assert asyncio.run(sync_to_async(task)())
    assert asyncio.run(asyncio.to_thread(task))
    assert async_to_sync(sync_to_async(task))()
    assert run_coroutine(sync_to_async(task)())


def test_call_that_runs_a_coroutine_does_not_deadlock() -> None:
    """Django does this for asynchronous receivers of a signal."""
    assert run_coroutine(sync_to_async(async_to_sync(thread_of_calls))()) == {threading.get_ident()}


async def fails(error: BaseException) -> str:
    def fail() -> None:
        raise error

    try:
        await sync_to_async(fail)()
    except ValueError as raised:
        return str(raised)
    return "nothing"


def test_coroutine_gets_what_its_call_raises() -> None:
    assert run_coroutine(fails(ValueError("wrong"))) == "wrong"
    with pytest.raises(SystemExit):
        run_coroutine(fails(SystemExit(3)))


async def blocked(done: list[str]) -> None:
    try:
        await asyncio.gather(*[sync_to_async(time.sleep)(LONG_SECONDS) for _ in range(3)])
    finally:
        done.append("ended")
        await sync_to_async(done.append)("cleaned up")


async def idle(done: list[str]) -> None:
    call = asyncio.ensure_future(sync_to_async(done.append)("too late"))
    try:
        time.sleep(LONG_SECONDS)  # noqa: ASYNC251 - a coroutine that blocks
    finally:
        call.cancel()


@pytest.mark.parametrize(
    ("func", "expected"), [(blocked, ["ended", "cleaned up"]), (idle, [])], ids=["in a call", "in the coroutine"]
)
def test_timeout_interrupts_a_coroutine_and_its_calls(func, expected) -> None:
    done: list[str] = []
    started = time.monotonic()
    with pytest.raises(TimeoutException), TaskTimer().running(0.1):
        run_coroutine(func(done))
    assert time.monotonic() - started < LONG_SECONDS / 2
    assert done == expected


async def leaves(seen: list[str]) -> None:
    async def numbers():
        try:
            yield 1
            yield 2
        finally:
            await sync_to_async(seen.append)("generator")

    async def background() -> None:
        try:
            await asyncio.sleep(LONG_SECONDS)
        finally:
            await sync_to_async(seen.append)("task")

    leaves.kept = numbers(), asyncio.create_task(background())
    await anext(leaves.kept[0])


def test_what_a_coroutine_leaves_is_ended_in_its_thread() -> None:
    before = {*threading.enumerate()}
    seen: list[str] = []
    run_coroutine(leaves(seen))
    assert sorted(seen) == ["generator", "task"]
    assert {*threading.enumerate()} <= before


def test_coroutine_leaves_no_loop_open() -> None:
    gc.collect()  # frees what other tests have left
    contexts = len(SyncToAsync.context_to_thread_executor)
    files = len(os.listdir("/proc/self/fd"))  # noqa: PTH208
    for _ in range(10):
        run_coroutine(asyncio.sleep(0))
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        gc.collect()
    assert len(SyncToAsync.context_to_thread_executor) <= contexts
    assert len(os.listdir("/proc/self/fd")) == files  # noqa: PTH208


def test_other_coroutines_go_on_between_calls() -> None:
    async def ticks() -> int:
        count = 0

        async def tick() -> None:
            nonlocal count
            while True:
                count += 1
                await asyncio.sleep(0)

        ticking = asyncio.create_task(tick())
        await asyncio.gather(*[sync_to_async(len)("") for _ in range(10)])
        ticking.cancel()
        return count

    assert run_coroutine(ticks()) >= 10


@pytest.mark.django_db
def test_orm_of_a_coroutine_uses_the_connection_of_its_thread() -> None:
    User.objects.create(username="before")

    async def task() -> tuple[int, object]:
        await User.objects.acreate(username="within")
        return await User.objects.acount(), await sync_to_async(lambda: connection.connection)()

    assert run_coroutine(task()) == (2, connection.connection)
    assert User.objects.filter(username="within").exists()


async def makes(name: str) -> int:
    await User.objects.acreate(username=name)
    return await User.objects.acount()


class CoroutinesInATestCase(TestCase):
    """A task in sync mode sees the transaction of the test, and leaves nothing behind."""

    def setUp(self) -> None:
        assert not User.objects.exists()
        User.objects.create(username="of the test")

    def test_of_a_synchronous_test(self) -> None:
        task_id = async_task(makes, "of the task", sync=True)
        assert result(task_id) == 2

    async def test_of_an_asynchronous_test(self) -> None:
        task_id = await aasync_task(makes, "of the task", sync=True)
        assert await aresult(task_id) == 2
        assert await User.objects.acount() == 2

    async def test_of_a_hook(self) -> None:
        await aasync_task("math.floor", 1.5, sync=True, hook=hook)
        assert await User.objects.filter(username="of the hook").aexists()


async def hook(task: Task) -> None:
    await makes("of the hook")


@pytest.mark.django_db(transaction=True)
def test_task_that_runs_in_the_thread_of_a_loop_finishes() -> None:
    async def main() -> object:
        return await aresult(await aasync_task(makes, "name", sync=True))

    assert asyncio.run(main()) == 1
    asyncio.run(sync_to_async(connections.close_all)())
