"""Tests in which tasks are executed at once, or by a cluster."""

import pytest
from django_q.tasks import async_task, result
from django_q.testing import captured_tasks, eventually, immediate

from library import lending


def test_list_is_printed_at_once(django_q_immediate):
    lending.catalogue(["Emma"])
    assert lending.printed == ["* Emma"]


def test_error_of_the_printer_is_raised(django_q_immediate):
    lending.broken.append("printer")
    with pytest.raises(OSError, match="no paper"):
        async_task(lending.print_slip, 1)


def test_block_executes_what_waits_for_the_commit(db):
    with immediate():
        lending.lend("Emma", "Ada")
    assert "Emma for Ada" in lending.printed


def test_block_captures_with_other_settings(db):
    lending.broken.append("printer")
    with captured_tasks(max_attempts=1) as tasks:
        async_task(lending.print_slip, 1)
        assert len(tasks.run()) == 1


def test_cluster_describes_a_book(live_cluster):
    task = async_task(lending.describe, "Emma")
    assert eventually(lambda: result(task), within=10) == "* Emma"
