"""Tests with the fixture `django_q_tasks`."""

from datetime import timedelta

import pytest
from django.db import transaction
from django_q.tasks import async_task, result, result_group
from django_q.testing import assert_sent, run_tasks, sent_tasks

from library import lending
from library.models import Loan


def test_slip_is_printed(django_q_tasks):
    loan = lending.lend("Emma", "Ada")
    (task,) = django_q_tasks.assert_sent(lending.print_slip, times=1, args=[loan.pk], group="Ada")
    django_q_tasks.run()
    assert lending.printed == ["Emma for Ada"]
    assert result(task.id) == "Emma"


def test_reminder_waits_for_two_weeks(django_q_tasks):
    loan = lending.lend("Emma", "Ada")
    django_q_tasks.assert_sent("library.lending.remind", times=1, delay=14 * 86_400)
    django_q_tasks.run(until=timedelta(days=13))
    loan.refresh_from_db()
    assert loan.reminders == 0
    django_q_tasks.run(until=timedelta(days=1, seconds=1))
    loan.refresh_from_db()
    assert loan.reminders == 1


def test_nothing_is_sent_after_a_rollback(django_q_tasks):
    with transaction.atomic():
        lending.lend("Emma", "Ada")
        transaction.set_rollback(True)
    assert [task.func for task in django_q_tasks.sent if task.func == "library.lending.print_slip"] == []


def test_failed_slip_is_tried_again(django_q_tasks):
    lending.broken.append("printer")
    lending.lend("Emma", "Ada")
    attempts = django_q_tasks.run(until=timedelta(hours=1))
    assert [(each.attempt, each.success) for each in attempts] == [(1, False), (2, False), (3, False)]
    assert isinstance(attempts[0].exception, OSError)


def test_slip_is_printed_when_the_printer_works_again(django_q_tasks):
    lending.broken.append("printer")
    lending.lend("Emma", "Ada")
    django_q_tasks.run()
    lending.broken.clear()
    (attempt,) = django_q_tasks.run(until=timedelta(minutes=11))
    assert (attempt.attempt, attempt.result) == (2, "Emma")


def test_list_is_printed_when_all_books_are_described(django_q_tasks):
    iter_id = lending.catalogue(["Emma", "Dracula"])
    django_q_tasks.run()
    assert result(iter_id) == ["* Emma", "* Dracula"]
    assert lending.printed == ["* Emma\n* Dracula"]


def test_chain_removes_a_book(django_q_tasks):
    lending.lend("Emma", "Ada")
    group = lending.clear_out("Emma")
    django_q_tasks.run()
    assert result_group(group) == ["* Emma", 1]
    assert not Loan.objects.exists()


def test_schedule_prints_each_evening(django_q_tasks):
    lending.close_each_evening()
    django_q_tasks.run(until=timedelta(days=3, seconds=-1))
    assert lending.printed == ["0 loans"] * 3


def test_hook_prints_the_outcome(django_q_tasks):
    lending.broken.append("printer")
    async_task(lending.print_slip, 1, hook=lending.on_slip, ack_failure=True)
    django_q_tasks.run()
    assert lending.printed == ["not printed"]


def test_functions_use_the_tasks_of_the_fixture(django_q_tasks):
    lending.catalogue(["Emma"])
    assert_sent(lending.describe, times=1, args=["Emma"])
    assert [task.func for task in sent_tasks()] == ["library.lending.describe"]
    assert [each.result for each in run_tasks()][:1] == ["* Emma"]


def test_message_lists_what_was_sent(django_q_tasks):
    lending.catalogue(["Emma"])
    with pytest.raises(AssertionError, match=r"library\.lending\.describe\('Emma'\)"):
        assert_sent(lending.remove)


def test_forgotten_tasks_are_not_executed(django_q_tasks):
    lending.catalogue(["Emma"])
    django_q_tasks.clear()
    assert django_q_tasks.sent == django_q_tasks.run() == []
