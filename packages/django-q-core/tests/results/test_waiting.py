"""`wait` is milliseconds, 0 looks once, -1 waits for ever, and a falsy result is a result."""

from __future__ import annotations

import asyncio
import time
from itertools import islice

import pytest
from django_q.results.waiting import LONGEST, MISSING, await_for, pauses, wait_for


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


def test_wait_for_ever_ends_with_the_result() -> None:
    assert wait_for(after(4, "late"), -1) == "late"


def test_looks_become_rarer() -> None:
    some = list(islice(pauses(-1), 30))
    assert some == sorted(some)
    assert some[0] < 0.002
    assert some[-1] == LONGEST


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
