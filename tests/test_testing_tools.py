"""Tools with which a project tests the tasks that it sends."""

from __future__ import annotations

from datetime import datetime, timedelta

import pytest
from django.core.cache import cache
from django.db import transaction
from django.test import TestCase, TransactionTestCase
from django.utils import timezone
from django_q.models import Failure, Schedule, Success, Task
from django_q.tasks import async_chain, async_iter, async_task, fetch, result, schedule
from django_q.testing import CapturedTasksMixin, assert_sent, captured_tasks, immediate, run_tasks, sent_tasks

HERE = __name__
CALLS: list[object] = []


def note(value: object = "called") -> object:
    CALLS.append(value)
    return value


def clock() -> datetime:
    return timezone.now()


def fail(times: int = 10) -> int:
    CALLS.append("attempt")
    if len(CALLS) <= times:
        raise ValueError("not yet")
    return len(CALLS)


def send_more(count: int) -> None:
    for number in range(count):
        async_task(note, number)


def endless() -> None:
    async_task(endless)


def hooked(task: Task) -> None:
    CALLS.append(("hook", task.result))


def order(value: str) -> None:
    """Code of a project that sends a task when its transaction commits."""
    transaction.on_commit(lambda: async_task(note, value))


@pytest.fixture(autouse=True)
def calls():
    CALLS.clear()
    cache.clear()


@pytest.fixture
def tasks(db):
    with captured_tasks() as tasks:
        yield tasks


class TestSent:
    def test_task_is_captured_and_not_executed(self, tasks) -> None:
        task_id = async_task(note, 1, key=[2], task_name="first", timeout=5)
        (sent,) = sent_tasks()
        assert (sent.id, sent.name, sent.func, sent.args, sent.kwargs) == (
            task_id,
            "first",
            f"{HERE}.note",
            (1,),
            {"key": [2]},
        )
        assert (sent.options, sent.queue) == ({"timeout": 5}, "test")
        assert CALLS == []

    def test_arguments_are_those_that_a_worker_receives(self, tasks) -> None:
        argument = [1]
        async_task(note, argument)
        argument.append(2)
        assert sent_tasks()[0].args == ([1],)

    def test_options_select_tasks(self, tasks) -> None:
        async_task.options(priority=5, delay=60)(note, 1)
        async_task(note, 2, group="some", cluster="mail")
        assert_sent(note, times=2)
        assert_sent(f"{HERE}.note", times=1, priority=5, delay=60)
        assert_sent(note, times=1, group="some", queue="mail", args=[2])
        assert_sent(note, times=0, args=[3], queue="mail")
        assert_sent(note, times=0, kwargs={"key": 1})

    @pytest.mark.parametrize("expected", [{"times": 2}, {"args": (7,)}, {"timeout": 1}, {"times": 0}])
    def test_mismatch_lists_what_was_sent(self, tasks, expected) -> None:
        async_task(note, 1, group="some")
        with pytest.raises(AssertionError, match=r"note\(1\) with \{'group': 'some'\}"):
            assert_sent(note, **expected)

    def test_nothing_was_sent(self, tasks) -> None:
        with pytest.raises(AssertionError, match=r"sent 0 times, not at least one\. Sent: nothing"):
            assert_sent(note)

    def test_sync_setting_is_off(self, db, settings) -> None:
        settings.Q_CLUSTER = {**settings.Q_CLUSTER, "sync": True}
        with captured_tasks():
            async_task(note, 1)
            assert (len(sent_tasks()), CALLS) == (1, [])

    def test_blocks_are_separate(self, tasks) -> None:
        async_task(note, "outer")
        with captured_tasks() as inner:
            async_task(note, "inner")
            assert [each.args for each in inner.sent] == [("inner",)]
        assert [each.args for each in sent_tasks()] == [("outer",)]
        run_tasks()
        assert CALLS == ["outer"]

    def test_tools_need_captured_tasks(self) -> None:
        for tool in (sent_tasks, run_tasks, lambda: assert_sent(note)):
            with pytest.raises(RuntimeError, match="not captured"):
                tool()

    def test_cleared_tasks_are_forgotten(self, tasks) -> None:
        async_task(note, 1)
        tasks.clear()
        assert (sent_tasks(), run_tasks()) == ([], [])


class TestRun:
    def test_result_is_saved(self, tasks) -> None:
        task_id = async_task(note, 1)
        (finished,) = run_tasks()
        assert (finished.id, finished.success, finished.result, finished.exception) == (task_id, True, 1, None)
        assert (finished.func, finished.attempt, result(task_id)) == (f"{HERE}.note", 1, 1)
        assert run_tasks() == []

    def test_failure_is_saved_and_not_raised(self, tasks) -> None:
        async_task(fail, ack_failure=True)
        (finished,) = run_tasks()
        assert (finished.success, str(finished.exception)) == (False, "not yet")
        assert "not yet" in finished.result
        assert Failure.objects.count() == 1

    def test_sent_tasks_and_hooks_are_executed(self, tasks) -> None:
        async_task(send_more, 2, hook=hooked)
        assert len(run_tasks()) == 3
        assert CALLS == [("hook", None), 0, 1]

    def test_chain_and_iter_are_executed(self, tasks) -> None:
        async_chain([(note, (1,)), (note, (2,))])
        iter_id = async_iter(note, [3, 4])
        run_tasks()
        assert sorted(CALLS) == [1, 2, 3, 4]
        assert fetch(iter_id).result == [3, 4]

    def test_greater_priority_is_first(self, tasks) -> None:
        async_task.options(priority=-1)(note, "low")
        async_task.options(priority=1)(note, "high")
        run_tasks()
        assert CALLS == ["high", "low"]

    def test_each_queue_is_consumed(self, tasks) -> None:
        async_task(note, "mail", cluster="mail")
        async_task(note, "own")
        run_tasks()
        assert sorted(CALLS) == ["mail", "own"]

    def test_task_that_sends_itself_ends(self, tasks, monkeypatch) -> None:
        monkeypatch.setattr("django_q.testing.captured.MAX_TASKS", 20)
        async_task(endless)
        with pytest.raises(RuntimeError, match="does a task send itself"):
            run_tasks()


class TestClock:
    def test_delayed_task_waits_for_its_time(self, tasks) -> None:
        async_task.options(delay=60)(note, 60)
        async_task.options(eta=timezone.now() + timedelta(seconds=30))(note, 30)
        assert run_tasks() == []
        run_tasks(until=timedelta(seconds=45))
        assert CALLS == [30]
        run_tasks(until=timezone.now() + timedelta(seconds=70))
        assert CALLS == [30, 60]

    def test_task_sees_the_time_of_the_clock(self, tasks) -> None:
        began = timezone.now()
        async_task.options(delay=3600)(clock)
        (finished,) = run_tasks(until=timedelta(days=1))
        assert timedelta(hours=1) <= finished.result - began < timedelta(hours=1, minutes=1)
        assert timedelta(days=1) <= tasks.now - began < timedelta(days=1, minutes=1)
        assert timezone.now() - began < timedelta(minutes=1)

    def test_failed_task_is_retried_at_its_time(self, db) -> None:
        with captured_tasks(ack_failures=False, max_attempts=3, retry=60):
            async_task(fail, 2)
            assert [each.attempt for each in run_tasks()] == [1]
            assert [(each.attempt, each.success) for each in run_tasks(until=timedelta(minutes=5))] == [
                (2, False),
                (3, True),
            ]
        assert Success.objects.count() == 1

    def test_schedules_send_their_tasks(self, tasks) -> None:
        schedule(
            f"{HERE}.note", "hourly", schedule_type=Schedule.HOURLY, next_run=timezone.now() + timedelta(minutes=30)
        )
        schedule(f"{HERE}.note", "once", schedule_type=Schedule.ONCE, next_run=timezone.now() + timedelta(hours=1))
        assert run_tasks() == []
        run_tasks(until=timedelta(hours=2))
        assert CALLS == ["hourly", "once", "hourly"]

    def test_schedules_of_others_do_not_block(self, tasks) -> None:
        past = timezone.now() - timedelta(hours=1)
        schedule(f"{HERE}.note", "other", schedule_type=Schedule.HOURLY, next_run=past, cluster="another")
        schedule("no_such_module.function", schedule_type=Schedule.HOURLY, next_run=past)
        run_tasks(until=timedelta(hours=2))
        assert CALLS == []

    def test_clock_never_goes_back(self, tasks) -> None:
        run_tasks(until=timedelta(hours=1))
        before = tasks.now
        run_tasks(until=timezone.now())
        assert tasks.now >= before


class CommitTests(CapturedTasksMixin, TestCase):
    def test_committed_code_has_sent(self) -> None:
        with transaction.atomic():
            order("first")
        self.tasks.assert_sent(note, times=1)
        self.tasks.run()
        assert CALLS == ["first"]

    def test_open_transaction_has_not_sent(self) -> None:
        with transaction.atomic():
            order("first")
            self.tasks.assert_sent(note, times=0)
        self.tasks.assert_sent(note, times=1)

    def test_rolled_back_transaction_does_not_send(self) -> None:
        with transaction.atomic():
            order("first")
            transaction.set_rollback(True)
        assert self.tasks.run() == []

    def test_option_on_commit(self) -> None:
        async_task.options(on_commit=True)(note, 1)
        assert [each.result for each in self.tasks.run()] == [1]

    def test_each_test_has_its_own_tasks(self) -> None:
        assert sent_tasks() == []

    def test_error_of_a_callback_is_raised(self) -> None:
        transaction.on_commit(lambda: 1 / 0)
        order("after")
        with pytest.raises(ZeroDivisionError):
            self.tasks.run()
        self.tasks.assert_sent(note, times=1)


class TransactionCommitTests(CapturedTasksMixin, TransactionTestCase):
    def test_committed_code_has_sent(self) -> None:
        with transaction.atomic():
            order("first")
        self.tasks.assert_sent(note, times=1)


class TestImmediate:
    def test_task_is_executed_by_the_call(self, db) -> None:
        with immediate():
            task_id = async_task(note, 1)
            assert CALLS == [1]
        assert result(task_id) == 1

    def test_exception_is_raised(self, db) -> None:
        with immediate(), pytest.raises(ValueError, match="not yet"):
            async_task(fail)

    def test_task_of_a_commit_is_executed_at_the_end(self, db) -> None:
        with immediate():
            order("later")
        assert CALLS == ["later"]
