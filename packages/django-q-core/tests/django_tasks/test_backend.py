"""The back end of `django.tasks`, in one process: tasks are executed by the worker's parts, or in sync mode."""

from __future__ import annotations

import asyncio
import json
from datetime import timedelta
from enum import StrEnum
from importlib import import_module

import pytest
from django.db import transaction
from django.utils import timezone
from django_q.brokers import get_broker, shared_broker
from django_q.execution import Executor
from django_q.finishing import Finisher, is_last
from django_q.models import Record, Schedule, Success
from django_q.settings import current_settings
from django_q.tasks import cancel
from django_q.tasks.resubmitting import resubmit_task as resubmit
from django_q.wire.codec import PackageCodec
from django_q.wire.outcome import decode

api = pytest.importorskip("django_q.django_tasks.api", reason="Django 5.2 needs django-tasks", exc_type=ImportError)

pytestmark = pytest.mark.django_db

TASKS = {
    "default": {"BACKEND": "django_q.backend.DjangoQBackend", "QUEUES": ["default", "mail"]},
    "other": {"BACKEND": "django_q.backend.DjangoQBackend", "OPTIONS": {"cluster": "elsewhere", "on_commit": True}},
}


@pytest.fixture(autouse=True)
def configured(settings):
    settings.TASKS = TASKS
    settings.Q_CLUSTER = {**settings.Q_CLUSTER, "ack_failures": False, "max_attempts": 2}
    for queue in (None, "mail", "elsewhere"):
        get_broker(queue).delete_queue()


@pytest.fixture
def jobs(configured):
    """Module with tasks, imported after the back ends are configured."""
    return import_module("tests.django_tasks_jobs")


@pytest.fixture
def signals():
    """Signals that were sent: name, sender and status."""
    seen: list[tuple[str, type, str]] = []
    receivers = []
    for name in ("task_enqueued", "task_started", "task_finished"):

        def receive(sender, task_result, name=name, **kwargs):
            seen.append((name, sender, str(task_result.status)))

        getattr(api, name).connect(receive)
        receivers.append((name, receive))
    yield seen
    for name, receive in receivers:
        getattr(api, name).disconnect(receive)


def work(count: int = 1, queue: str | None = None) -> None:
    """Execute the next tasks of a queue, as a worker and the monitor do."""
    settings, broker = current_settings(), get_broker(queue)

    def last(package, attempt):
        return is_last(package.get("ack_failure"), attempt, settings=settings, broker=broker)

    executor = Executor(settings, worker="worker 1", is_last=last)
    finisher = Finisher(settings, broker)
    for delivery in broker.dequeue_many(count, 0):
        package = PackageCodec.of(settings).loads(delivery.package)
        finisher.finish([executor.execute(package, ack_id=delivery.ack_id, attempt=delivery.attempt)])


def retry() -> None:
    """Make the failed attempt visible again at once."""
    queue = get_broker()._queue()
    queue.hidden = [(0.0, token, entry) for _, token, entry in queue.hidden]


def test_result_exists_before_the_task_runs(jobs) -> None:
    result = jobs.add.enqueue(1, b=2)
    assert (result.status, result.args, result.kwargs) == ("READY", [1], {"b": 2})
    assert (result.backend, result.errors, result.worker_ids, result.attempts) == ("default", [], [], 0)
    found = jobs.add.get_result(result.id)
    assert found == result
    with pytest.raises(ValueError, match="not finished"):
        _ = found.return_value


def test_success_has_its_return_value(jobs, signals) -> None:
    result = jobs.add.enqueue(1, b=2)
    work()
    result.refresh()
    assert (result.status, result.return_value, result.is_finished) == ("SUCCESSFUL", 3, True)
    assert result.enqueued_at <= result.started_at <= result.finished_at
    assert result.last_attempted_at == result.started_at
    assert (result.worker_ids, result.attempts, result.errors) == (["worker 1"], 1, [])
    assert [(name, status) for name, _, status in signals] == [
        ("task_enqueued", "READY"),
        ("task_started", "RUNNING"),
        ("task_finished", "SUCCESSFUL"),
    ]
    assert {sender.__name__ for _, sender, _ in signals} == {"DjangoQBackend"}


def test_each_failed_attempt_is_an_error(jobs, signals) -> None:
    result = jobs.fail.enqueue("no")
    work()
    result.refresh()
    assert (result.status, result.attempts, result.finished_at) == ("READY", 1, None)
    assert [each.exception_class for each in result.errors] == [ValueError]
    retry()
    work()
    result.refresh()
    assert (result.status, result.attempts, len(result.errors)) == ("FAILED", 2, 2)
    assert all("ValueError: no" in each.traceback for each in result.errors)
    assert [name for name, _, _ in signals] == ["task_enqueued", "task_started", "task_started", "task_finished"]
    with pytest.raises(ValueError, match="failed"):
        _ = result.return_value


def test_context_knows_the_attempt(jobs) -> None:
    result = jobs.attempt_of.enqueue()
    work()
    result.refresh()
    assert result.return_value == [1, result.id, "RUNNING", 0]


def test_finished_signal_is_sent_while_the_exception_is_handled(jobs, caplog) -> None:
    caplog.set_level("INFO")
    jobs.fail.enqueue("handled")
    work()
    retry()
    work()
    records = [each for each in caplog.records if each.name.startswith("django") and each.exc_info]
    assert any("handled" in str(each.exc_info[1]) for each in records)


def test_coroutine_is_a_task(jobs) -> None:
    good, bad = jobs.double.enqueue(21), jobs.fail_async.enqueue()
    work(2)
    good.refresh()
    bad.refresh()
    assert good.return_value == 42
    assert [each.exception_class for each in bad.errors] == [KeyError]


def test_return_value_is_json(jobs) -> None:
    good, bad = jobs.returns.enqueue("tuple"), jobs.returns.enqueue("object")
    work(2)
    good.refresh()
    bad.refresh()
    assert good.return_value == [1, 2]
    assert [each.exception_class for each in bad.errors] == [TypeError]
    assert Record.objects.get(pk=good.id).result == "[1, 2]"
    assert Record.objects.get(pk=good.id).arguments == '[["tuple"], {}]'


@pytest.mark.parametrize("value", [object(), {1}, ...])
def test_argument_without_json_is_rejected(jobs, value) -> None:
    with pytest.raises(TypeError):
        jobs.add.enqueue(value)
    assert Record.objects.count() == get_broker().queue_size() == 0


def test_arguments_have_json_types(jobs) -> None:
    result = jobs.returns.enqueue(name=b"tuple")
    assert result.kwargs == {"name": "tuple"}


class Colour(StrEnum):
    """Type of the project."""

    RED = "red"


def test_stored_values_have_no_types_of_the_project(jobs) -> None:
    result = jobs.echo.enqueue(Colour.RED, {1: Colour.RED})
    assert [type(each) for each in result.args] == [str, dict]
    (delivery,) = get_broker().dequeue_many(1, 0)
    package = PackageCodec.of(current_settings()).loads(delivery.package)
    assert type(package["args"][0]) is str
    assert package["args"] == ("red", {"1": "red"})
    outcome = Executor(current_settings()).execute(package)
    assert decode(outcome.result) == json.loads(outcome.attempted.json) == ["red", {"1": "red"}]


def test_value_without_json_ends_the_task(jobs, signals) -> None:
    result = jobs.returns.enqueue("object")
    work()
    result.refresh()
    assert (result.status, result.attempts) == ("FAILED", 1)
    assert signals[-1][::2] == ("task_finished", "FAILED")


def test_traceback_begins_with_the_task(jobs) -> None:
    for task in (jobs.fail, jobs.fail_async):
        result = task.enqueue(*(["no"] if task is jobs.fail else []))
        work()
        result.refresh()
        files = [line for line in result.errors[0].traceback.splitlines() if line.startswith("  File ")]
        assert "django_tasks_jobs.py" in files[0]


@pytest.mark.parametrize("name", ["task_enqueued", "task_started", "task_finished"])
def test_error_of_a_receiver_does_not_affect_the_task(jobs, name) -> None:
    def receive(**arguments):
        raise RuntimeError(name)

    getattr(api, name).connect(receive)
    try:
        result = jobs.add.enqueue(1)
        work()
    finally:
        getattr(api, name).disconnect(receive)
    result.refresh()
    assert (result.status, result.errors) == ("SUCCESSFUL", [])


def test_receiver_may_query_after_a_coroutine(jobs) -> None:
    seen = []

    def receive(task_result, **arguments):
        seen.append(Record.objects.filter(pk=task_result.id).count())

    api.task_finished.connect(receive)
    try:
        jobs.double.enqueue(1)
        work()
    finally:
        api.task_finished.disconnect(receive)
    assert seen == [1]


def test_cancelled_attempt_is_announced_as_the_last(jobs, signals) -> None:
    jobs.fail.enqueue("interrupted")
    (delivery,) = get_broker().dequeue_many(1, 0)
    executor = Executor(current_settings(), is_last=lambda package, attempt: False)
    package = PackageCodec.of(current_settings()).loads(delivery.package)

    def cancel_it(**arguments):
        executor.cancelled = True

    api.task_started.connect(cancel_it)
    try:
        outcome = executor.execute(package, ack_id=delivery.ack_id)
    finally:
        api.task_started.disconnect(cancel_it)
    assert (outcome.cancelled, outcome.final) == (True, True)
    assert signals[-1][::2] == ("task_finished", "FAILED")


def test_any_queue_is_kept_if_none_are_named(jobs, settings) -> None:
    settings.TASKS = {"default": {**TASKS["default"], "QUEUES": []}}
    result = jobs.add.using(queue_name="reports").enqueue(1)
    assert jobs.add.get_result(result.id).task.queue_name == "reports"
    get_broker("reports").delete_queue()


def test_result_is_read_after_its_queue_was_removed(jobs, settings) -> None:
    result = jobs.add.using(queue_name="mail").enqueue(1)
    settings.TASKS = {"default": {**TASKS["default"], "QUEUES": ["reports"]}}
    found = api.task_backends["default"].get_result(result.id)
    assert (found.status, found.task.queue_name) == ("READY", "reports")
    get_broker("mail").delete_queue()


def test_default_queue_is_that_of_the_project(jobs, monkeypatch) -> None:
    monkeypatch.setenv("Q_CLUSTER_NAME", "mail")
    result = jobs.add.enqueue(1)
    monkeypatch.delenv("Q_CLUSTER_NAME")
    assert Record.objects.get(pk=result.id).queue == "test"
    assert get_broker().queue_size() == 1
    assert jobs.add.get_result(result.id) == result


def test_queue_of_dead_letters_is_rejected(jobs, settings) -> None:
    settings.TASKS = {"default": {**TASKS["default"], "QUEUES": ["default", "mail-dead"]}}
    with pytest.raises(api.InvalidTask, match="dead"):
        jobs.add.using(queue_name="mail-dead")
    assert [message.id for message in api.task_backends["default"].check()] == ["django_q.E013"]


def test_row_of_a_task_is_resubmitted(jobs) -> None:
    jobs.add.enqueue(1, b=2)
    work()
    new_id = resubmit(Success.objects.get())
    work()
    assert jobs.add.get_result(new_id).return_value == 3


def test_unknown_result_does_not_exist(jobs) -> None:
    with pytest.raises(api.TaskResultDoesNotExist):
        jobs.add.get_result("unknown")
    native = shared_broker(current_settings())
    assert native.queue_size() == 0


def test_result_of_another_task_is_a_mismatch(jobs) -> None:
    result = jobs.add.enqueue(1)
    with pytest.raises(api.TaskResultMismatch):
        jobs.fail.get_result(result.id)


def test_result_of_another_back_end_does_not_exist(jobs) -> None:
    result = jobs.add.enqueue(1)
    with pytest.raises(api.TaskResultDoesNotExist):
        api.task_backends["other"].get_result(result.id)


def test_run_after_may_be_years_ahead(jobs, monkeypatch) -> None:
    monkeypatch.setattr(type(get_broker()), "supports_delay", 900)
    moment = timezone.now() + timedelta(days=1_000)
    result = jobs.add.using(run_after=moment).enqueue(1)
    assert jobs.add.get_result(result.id).status == "READY"
    assert abs(Schedule.objects.get().next_run - moment) < timedelta(seconds=1)
    assert Record.objects.get(pk=result.id).status == "scheduled"


def test_priority_and_queue_are_those_of_the_task(jobs) -> None:
    result = jobs.report.enqueue()
    found = jobs.report.get_result(result.id)
    assert (found.task.priority, found.task.queue_name) == (5, "mail")
    record = Record.objects.get(pk=result.id)
    assert (record.priority, record.queue, record.group) == (5, "mail", "reports")
    package = PackageCodec.of(current_settings()).loads(get_broker("mail").dequeue_many(1, 0)[0].package)
    assert (package["timeout"], package["hook"], package["group"]) == (30, "hooks.told", "reports")


@pytest.mark.parametrize(
    "changes", [{"priority": 101}, {"priority": 1.5}, {"queue_name": "unknown"}, {"run_after": "tomorrow"}]
)
def test_invalid_task_is_rejected(jobs, changes) -> None:
    with pytest.raises((api.InvalidTask, AttributeError)):
        jobs.add.using(**changes)


def test_invalid_option_is_rejected(jobs) -> None:
    from django_q.backend import task

    with pytest.raises(api.InvalidTask, match="timeout"):
        task(timeout=-1)(jobs.plain)
    with pytest.raises(TypeError):
        task(unknown=1)(jobs.plain)


@pytest.mark.django_db(transaction=True)
def test_on_commit_sends_at_the_commit(jobs, signals) -> None:
    add = jobs.add.using(backend="other")
    with transaction.atomic():
        result = add.enqueue(1)
        assert (get_broker("elsewhere").queue_size(), signals) == (0, [])
    assert get_broker("elsewhere").queue_size() == 1
    assert [name for name, _, _ in signals] == ["task_enqueued"]
    assert add.get_result(result.id).status == "READY"
    get_broker("elsewhere").delete_queue()


def test_setting_on_commit_does_not_delay_tasks(jobs, settings) -> None:
    settings.Q_CLUSTER = {**settings.Q_CLUSTER, "on_commit": True}
    jobs.add.enqueue(1)
    assert get_broker().queue_size() == 1


def test_cancelled_task_has_failed(jobs) -> None:
    result = jobs.add.enqueue(1)
    assert cancel(result.id)
    result.refresh()
    assert (result.status, result.attempts) == ("FAILED", 0)
    assert [each.exception_class_path for each in result.errors] == ["django_q.exceptions.TaskCancelled"]


def test_sync_mode_returns_a_finished_result(jobs, settings) -> None:
    settings.Q_CLUSTER = {**settings.Q_CLUSTER, "sync": True}
    result = jobs.add.enqueue(1, 2)
    assert (result.status, result.return_value, result.attempts) == ("SUCCESSFUL", 3, 1)
    assert Success.objects.get().result == 3


@pytest.mark.django_db(transaction=True)
def test_async_forms_return_the_same(jobs) -> None:
    async def send():
        result = await jobs.add.aenqueue(1, 2)
        found = await jobs.add.aget_result(result.id)
        await result.arefresh()
        return result, found

    result, found = asyncio.run(send())
    assert result == found


def test_mistakes_in_options_are_checks(settings) -> None:
    settings.TASKS = {
        "default": {"BACKEND": TASKS["default"]["BACKEND"], "OPTIONS": {"unknown": 1, "on_commit": 2, "cluster": [3]}}
    }
    found = [message.id for message in api.task_backends["default"].check()]
    assert found == ["django_q.E011", "django_q.E012", "django_q.E013"]
    settings.TASKS = TASKS
    assert api.task_backends["other"].check() == []
