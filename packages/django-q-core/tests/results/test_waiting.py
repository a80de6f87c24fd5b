"""`wait` is milliseconds, 0 reads once, -1 waits without limit, and a falsy result is a result."""

from __future__ import annotations

import asyncio
import time
from decimal import Decimal
from itertools import islice

import pytest
from django_q.clock import real_clock
from django_q.exceptions import OptionError
from django_q.execution.coroutines import run_coroutine
from django_q.results.waiting import MAX_PAUSE_SECONDS, MISSING, await_for, pauses, wait_for


def after(looks: int, value: object):
    left = iter([MISSING] * looks)
    return lambda: next(left, value)


@pytest.mark.parametrize("value", [0, None, "", [], False])
def test_falsy_result_is_a_result(value: object) -> None:
    assert wait_for(lambda: value, 10_000) == value


def test_no_wait_looks_once() -> None:
    assert wait_for(after(1, "late")) is MISSING


def test_what_is_there_is_not_waited_for() -> None:
    started = time.monotonic()
    assert wait_for(lambda: "there", 10_000) == "there"
    assert time.monotonic() - started < 0.5


def test_wait_ends_when_its_milliseconds_are_over() -> None:
    started = time.monotonic()
    assert wait_for(lambda: MISSING, 30) is MISSING
    assert 0.03 <= time.monotonic() - started < 1


def test_wait_without_end_ends_with_the_result() -> None:
    assert wait_for(after(4, "late"), -1) == "late"


def test_looks_become_rarer() -> None:
    some = list(islice(pauses(-1), 30))
    assert some == sorted(some)
    assert some[0] < 0.002
    assert some[-1] == MAX_PAUSE_SECONDS


def test_event_loop_is_not_blocked() -> None:
    async def main() -> tuple[object, int]:
        looks = iter([MISSING] * 3)
        turns = 0

        async def read() -> object:
            return next(looks, "late")

        async def others() -> None:
            nonlocal turns
            while True:
                turns += 1
                await asyncio.sleep(0)

        task = asyncio.create_task(others())
        value = await await_for(read, -1)
        task.cancel()
        return value, turns

    value, turns = asyncio.run(main())
    assert value == "late"
    assert turns > 3


@pytest.mark.parametrize("wait", [30.0, Decimal(30)])
def test_wait_may_be_any_number(wait) -> None:
    started = time.monotonic()
    assert wait_for(lambda: MISSING, wait) is MISSING
    assert 0.03 <= time.monotonic() - started < 1


@pytest.mark.parametrize("wait", ["200", None, True, [200], float("nan"), b"1", object()])
def test_wait_that_is_no_number_is_refused(wait) -> None:
    with pytest.raises(OptionError, match=r"wait is .*: give a number of milliseconds"):
        wait_for(lambda: "there", wait)
    with pytest.raises(OptionError, match=r"wait is .*: give a number of milliseconds"):
        asyncio.run(await_for(missing, wait))


async def missing() -> object:
    return MISSING


# tests that freeze the time


@pytest.fixture(params=[{}, {"tick": True}, {"auto_tick_seconds": 1}, {"real_asyncio": True}], ids=str)
def frozen(request):
    """Clocks that a test has frozen or changed."""
    return pytest.importorskip("freezegun").freeze_time("2024-01-01", **request.param)


def test_wait_ends_while_the_time_is_frozen(frozen) -> None:
    started = real_clock()
    with frozen:
        assert wait_for(lambda: MISSING, 50) is MISSING
    assert 0.05 <= real_clock() - started < 15


@pytest.mark.timeout(20)
def test_asynchronous_wait_ends_while_the_time_is_frozen(frozen) -> None:
    started = real_clock()
    with frozen:
        assert asyncio.run(await_for(missing, 50)) is MISSING
    assert 0.05 <= real_clock() - started < 15


@pytest.mark.timeout(20)
def test_loop_of_a_task_sleeps_while_the_time_is_frozen(frozen) -> None:
    with frozen:
        run_coroutine(asyncio.sleep(0.01))


def test_clock_goes_on_while_the_time_is_frozen(frozen) -> None:
    with frozen:
        started = real_clock()
        time.sleep(0.01)
        assert 0.01 <= real_clock() - started < 1
