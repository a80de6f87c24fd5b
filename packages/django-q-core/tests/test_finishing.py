"""Finishing of outcomes, without a process."""

from __future__ import annotations

import re

import pytest
from django_q import signals
from django_q.brokers.memory import MemoryBroker
from django_q.dispatch import send_many
from django_q.exceptions import BrokerUnavailable, PackageTooLarge, ResultsUnavailable, mark_sent
from django_q.execution import Executor
from django_q.finishing import Finisher, acknowledges
from django_q.inline import run_inline
from django_q.models import Schedule, Task
from django_q.settings import ClusterSettings
from django_q.wire.package import new_package
from django_q.workflows.sent_links import SentLinks

pytestmark = pytest.mark.django_db


def fail():
    raise ValueError("no")


def remember(task):
    REMEMBERED.append((task.name, task.success, task.result))


REMEMBERED: list = []


@pytest.fixture(autouse=True)
def _nothing_remembered():
    REMEMBERED.clear()


def settings_with(**more):
    return ClusterSettings(name="dispatch", broker_class="django_q.brokers.memory.MemoryBroker", **more)


@pytest.fixture
def broker(request):
    broker = MemoryBroker(list_key=request.node.name, settings=settings_with())
    yield broker
    broker.delete_queue()


def deliver(broker, settings, package):
    """Run pusher, worker and monitor once."""
    send_many([package], broker=broker, settings=settings)
    return redeliver(broker, settings)


def redeliver(broker, settings):
    executor, finisher = Executor(settings), Finisher(settings, broker)
    for ack_id, signed, attempt in broker.dequeue_many(10, 0):
        finisher.finish([executor.execute(executor.codec.loads(signed), ack_id=ack_id, attempt=attempt)])


def test_success_is_saved_and_acknowledged(broker):
    package = new_package("math.floor", (1.5,))
    deliver(broker, settings_with(), package)
    assert Task.objects.get(pk=package["id"]).result == 1
    assert (broker.queue_size(), broker.lock_size()) == (0, 0)


@pytest.mark.parametrize(
    ("success", "option", "setting", "forgets", "max_attempts", "attempt", "expected"),
    [
        (True, None, None, False, 0, 1, True),
        (False, None, None, False, 0, 1, False),
        (False, None, None, True, 0, 1, True),  # Redis, which never repeated a failure
        (False, None, True, False, 0, 1, True),
        (False, None, False, True, 0, 1, False),  # Redis, told to repeat
        (False, True, False, False, 0, 1, True),
        (False, False, True, True, 0, 1, False),
        (False, None, None, False, 3, 2, False),
        (False, None, None, False, 3, 3, True),
        (False, None, None, False, 1, 1, True),
        (False, False, None, False, 2, 9, True),
    ],
)
def test_one_rule_decides_what_is_acknowledged(
    broker, success, option, setting, forgets, max_attempts, attempt, expected
):
    given = {} if setting is None else {"ack_failures": setting}
    settings = ClusterSettings.from_mapping({"name": "x", "max_attempts": max_attempts, **given})
    broker.acknowledges_failures = forgets
    outcome = Executor(settings).execute(new_package("math.floor", (1,)))._replace(success=success, ack_failure=option)
    assert acknowledges(outcome._replace(attempt=attempt), settings=settings, broker=broker) is expected


def test_failure_of_a_public_edition_follows_the_brokers_rule(broker):
    settings = settings_with()
    broker.acknowledges_failures = True
    package = dict(new_package(fail, ack_failure=False), sync=False)
    outcome = Executor(settings).execute(package)
    assert acknowledges(outcome, settings=settings, broker=broker)


def test_failed_task_stays_and_its_attempts_are_counted(broker):
    settings = settings_with(retry=0.01)
    broker.settings = settings
    package = new_package(fail)
    deliver(broker, settings, package)
    assert Task.objects.get(pk=package["id"]).attempt_count == 1
    assert broker.queue_size() + broker.lock_size() >= 0
    for expected in (2, 3):
        for _ in range(200):
            redeliver(broker, settings)
            if Task.objects.get(pk=package["id"]).attempt_count == expected:
                break
        assert Task.objects.get(pk=package["id"]).attempt_count == expected


def test_next_link_is_sent_before_the_acknowledgement(broker):
    settings = settings_with()
    seen = []
    acknowledge = broker.acknowledge_many
    broker.acknowledge_many = lambda ids: seen.append(broker.queue_size()) or acknowledge(ids)
    deliver(broker, settings, new_package("math.floor", (1.5,), chain=[("math.ceil", (1.5,), {})], group="chain"))
    assert seen == [1]
    redeliver(broker, settings)
    assert sorted(Task.get_result_group("chain")) == [1, 2]


class Cut(MemoryBroker):
    """Loses the connection once, after it has queued `cut_after` of several packages."""

    cut_after = 1

    def enqueue_many(self, packages):
        ids = super().enqueue_many(packages[: self.cut_after])
        if len(ids) < len(packages):
            error, self.cut_after = self.error, 1000
            mark_sent(error, range(len(ids)))
            raise error
        return ids


@pytest.fixture(params=[BrokerUnavailable("cut"), PackageTooLarge("one of them"), OSError("cut")])
def cut(request):
    broker = Cut(list_key=request.node.name, settings=settings_with())
    broker.error = request.param
    yield broker
    broker.delete_queue()


@pytest.mark.parametrize("cache_works", [True, False])
def test_links_that_were_sent_before_an_outage_are_sent_once(cut, cache_works, monkeypatch):
    if not cache_works:
        monkeypatch.setattr(SentLinks, "sent", lambda self, outcomes: None)
    settings = settings_with()
    executor, finisher = Executor(settings), Finisher(settings, cut)
    packages = [new_package("math.floor", (1.5,), chain=[("math.ceil", (n,), {})], group="c") for n in range(3)]
    outcomes = finisher.save([executor.execute(package) for package in packages])
    if isinstance(cut.error, BrokerUnavailable):
        with pytest.raises(BrokerUnavailable):
            finisher.follow(outcomes)
        assert cut.queue_size() == 1
    finisher.follow(outcomes)
    sent = [executor.codec.loads(each.package)["args"] for each in cut.dequeue_many(10, 0)]
    assert sorted(sent) == [(0,), (1,), (2,)]
    assert finisher.sent_links._partly == set()


def test_chain_stops_at_a_failed_link(broker):
    settings = settings_with()
    deliver(broker, settings, new_package(fail, chain=[("math.ceil", (1.5,), {})], ack_failure=True))
    assert broker.queue_size() == 0


def test_chain_goes_on_when_successes_are_not_saved(broker):
    settings = settings_with(save_limit=-1)
    deliver(broker, settings, new_package("math.floor", (1.5,), chain=[("math.ceil", (1.5,), {})]))
    assert broker.queue_size() == 1
    assert not Task.objects.exists()


def test_hook_gets_the_task_whether_saved_or_not(broker):
    hook = f"{__name__}.remember"
    for more in ({}, {"save_limit": -1}):
        deliver(broker, settings_with(**more), new_package("math.floor", (1.5,), name="n", hook=hook))
    assert REMEMBERED == [("n", True, 1)] * 2


def test_broken_hook_affects_no_other_task(broker, caplog):
    package = new_package("math.floor", (1.5,), hook="no.such.hook")
    deliver(broker, settings_with(), package)
    assert Task.objects.get(pk=package["id"]).success
    assert "no.such.hook" in caplog.text


def test_post_execute_tells_of_the_finished_task(broker):
    told = []
    signals.post_execute.connect(receiver := lambda task, **_: told.append(task["result"]))
    deliver(broker, settings_with(), new_package("math.floor", (1.5,)))
    signals.post_execute.disconnect(receiver)
    assert told == [1]


def test_inline_task_needs_no_broker_and_runs_its_chain_and_hook():
    settings = settings_with()
    package = new_package(
        "math.floor", (1.5,), chain=[("math.ceil", (1.5,), {})], hook=f"{__name__}.remember", group="g"
    )
    run_inline(package, settings=settings)
    assert sorted(Task.get_result_group("g")) == [1, 2]
    assert len(REMEMBERED) == 1


def test_inline_failure_is_saved_and_its_exception_kept():
    package = new_package(fail)
    executor = run_inline(package, settings=settings_with())
    assert isinstance(executor.exception, ValueError)
    assert not Task.objects.get(pk=package["id"]).success


def test_nothing_is_acknowledged_that_was_not_saved(broker, monkeypatch):
    settings = settings_with()
    monkeypatch.setattr(
        "django_q.results.database.DatabaseResults.save_many", lambda *_: (_ for _ in ()).throw(RuntimeError("down"))
    )
    with pytest.raises(ResultsUnavailable, match="down"):
        deliver(broker, settings, new_package("math.floor", (1.5,)))
    assert broker.lock_size() == 1


def test_sending_to_a_broker_that_is_away_raises(broker, monkeypatch):
    def away(*_, **__):
        raise BrokerUnavailable

    monkeypatch.setattr(broker, "enqueue", away)
    with pytest.raises(BrokerUnavailable):
        send_many([new_package("math.floor", (1.5,))], broker=broker, settings=settings_with())


@pytest.mark.parametrize(
    ("success", "settings", "waits"), [(True, {}, False), (False, {}, True), (False, {"max_attempts": 1}, False)]
)
def test_schedule_waits_for_the_last_attempt_of_its_task(broker, success, settings, waits):
    task_id = "c" * 32
    schedule = Schedule.objects.create(func="math.floor", overlap=False, waiting_for=task_id)
    func = "math.floor" if success else "math.no_such_function"
    package = new_package(func, (1.5,), task_id=task_id) | {"schedule": str(schedule.pk), "waited_for": True}
    deliver(broker, settings_with(**settings), package)
    schedule.refresh_from_db()
    assert (schedule.waiting_for == task_id) is waits


def test_log_line_of_a_failure_has_attempt_id_and_duration(broker, caplog):
    package = new_package("math.sqrt", (-1,))
    deliver(broker, settings_with(), package)
    (record,) = [each for each in caplog.records if each.django_q_event == "task.failed"]
    assert re.search(
        rf", attempt 1 of task {package['id']} after \d\.\d{{3}} s - math domain error", record.getMessage()
    )
    assert "\n" not in record.getMessage()
    assert "Traceback (most recent call last)" in record.django_q_traceback
