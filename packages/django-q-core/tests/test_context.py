"""The code of a task can read the current task."""

from __future__ import annotations

import asyncio
import logging

import pytest
from django_q.context import CurrentTask, TaskFilter, current_task, running, stamp_records
from django_q.log.fields import ATTRIBUTES
from django_q.wire.package import new_package

PACKAGE = new_package("math.floor", (1.5,), task_id="0" * 32, name="a-b-c-d", group="g")


def test_there_is_no_task_outside_of_tasks() -> None:
    assert current_task() is None


def test_current_task_is_the_running_one() -> None:
    with running(PACKAGE):
        assert current_task() == CurrentTask(id="0" * 32, name="a-b-c-d", func="math.floor", group="g")
    assert current_task() is None


def test_current_task_is_the_inner_one() -> None:
    with running(PACKAGE):
        with running(new_package("math.ceil", name="inner")):
            assert current_task().name == "inner"
        assert current_task().name == "a-b-c-d"


def test_task_that_raised_is_not_current() -> None:
    with pytest.raises(SystemExit), running(PACKAGE):
        raise SystemExit
    assert current_task() is None


def test_coroutines_of_a_task_have_a_current_task() -> None:
    async def inner() -> str:
        await asyncio.sleep(0)
        return current_task().id

    with running(PACKAGE):
        assert asyncio.run(inner()) == "0" * 32


def record() -> logging.LogRecord:
    return logging.getLogRecordFactory()("n", logging.INFO, "f", 1, "hello", (), None)


def test_log_records_of_a_task_have_its_id() -> None:
    with running(PACKAGE):
        inside = record()
        assert TaskFilter().filter(inside)
    outside = record()
    assert TaskFilter().filter(outside)
    assert (inside.task_id, inside.task_name) == ("0" * 32, "a-b-c-d")
    assert (outside.task_id, outside.task_name) == ("", "")


def test_log_records_of_a_task_have_its_fields() -> None:
    with running(PACKAGE, 3):
        TaskFilter().filter(inside := record())
    TaskFilter().filter(outside := record())
    assert (inside.django_q_task_id, inside.django_q_task_name) == ("0" * 32, "a-b-c-d")
    assert (inside.django_q_func, inside.django_q_attempt) == ("math.floor", 3)
    assert [getattr(outside, attribute) for attribute in ATTRIBUTES.values()] == [None] * len(ATTRIBUTES)


def test_record_about_another_task_has_no_field_of_this_one() -> None:
    other = record()
    other.django_q_task_id = "1" * 32
    with running(PACKAGE, 3):
        TaskFilter().filter(other)
    assert (other.django_q_task_id, other.django_q_func, other.django_q_attempt) == ("1" * 32, None, None)
    assert other.task_id == "0" * 32


def test_own_filter_of_a_project_learns_the_cluster() -> None:
    handler, own = logging.NullHandler(), TaskFilter()
    handler.addFilter(own)
    logging.getLogger("stamped").addHandler(handler)
    try:
        stamp_records(cluster="one-two", queue="mysite")
        own.filter(found := record())
    finally:
        logging.getLogger("stamped").removeHandler(handler)
        stamp_records()
    assert handler.filters == [own]
    assert (found.django_q_cluster, found.django_q_queue) == ("one-two", "mysite")


def test_each_handler_gets_one_filter() -> None:
    logger, handler = logging.getLogger("stamped"), logging.NullHandler()
    logger.addHandler(handler)
    try:
        stamp_records()
        stamp_records()
        (stamping,) = handler.filters
        with running(PACKAGE):
            assert stamping.filter(inside := record())
        assert inside.task_id == "0" * 32
    finally:
        logger.removeHandler(handler)


def test_extra_fields_of_a_project_are_kept(caplog) -> None:
    stamp_records()
    with running(PACKAGE):
        logging.getLogger("shop").warning("order done", extra={"task_id": 7})
    (found,) = caplog.records
    TaskFilter().filter(found)
    assert (found.task_id, found.task_name) == (7, "a-b-c-d")
