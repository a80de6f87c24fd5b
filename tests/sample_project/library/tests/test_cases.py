"""Tests of Django's classes, with the mixin."""

from datetime import timedelta

from django.test import TestCase
from django_q.testing import CapturedTasksMixin, assert_sent, run_tasks, sent_tasks

from library import lending
from library.models import Loan


class LendingTests(CapturedTasksMixin, TestCase):
    def setUp(self):
        super().setUp()
        self.loan = lending.lend("Emma", "Ada")

    def test_slip_is_sent_on_commit(self):
        assert_sent(lending.print_slip, times=1, group="Ada")
        assert len(sent_tasks()) == 2

    def test_ended_loan_has_no_reminder(self):
        Loan.objects.all().delete()
        finished = run_tasks(until=timedelta(days=15))
        assert [each.result for each in finished if each.func == "library.lending.remind"] == [0]

    def test_each_test_has_tasks_of_its_own(self):
        self.tasks.run()
        assert lending.printed == ["Emma for Ada"]
        assert [task.func.rpartition(".")[2] for task in self.tasks.sent] == ["remind", "print_slip"]
