"""Functions that old code calls by their old names work with the parts of a cluster."""

from __future__ import annotations

import multiprocessing
import os
import queue
import time
import uuid
from datetime import date, datetime, timedelta
from multiprocessing import Event, Value

import pytest
from django.core.cache import cache
from django.utils import timezone
from django_q.brokers import get_broker
from django_q.brokers.memory import MemoryBroker
from django_q.cluster import get_mp_context, monitor, pusher, rss_check, save_cached, save_task, worker
from django_q.conf import Conf
from django_q.exceptions import TimeoutException
from django_q.models import Schedule, Task
from django_q.monitor import get_ids, get_process_mb, info
from django_q.queues import Queue, SharedCounter
from django_q.scheduler import scheduler
from django_q.signing import SignedPackage
from django_q.tasks import async_chain, async_iter, async_task, count_group, fetch, result, result_cached
from django_q.testing import eventually
from django_q.timeout import TimeoutHandler
from django_q.utils import add_months, add_years, get_func_repr, localtime

HOOKED = []


def remember(task):
    HOOKED.append((task.id, task.result))


def fail():
    raise ValueError("no")


def sleep(seconds):
    time.sleep(seconds)


class Line:
    """Queues, event and timer of the functions, and their broker."""

    def __init__(self, name: str) -> None:
        self.broker = get_broker(name)
        self.tasks, self.results = queue.Queue(), queue.Queue()
        self.stop, self.timer = Event(), Value("f", -1)
        self.stop.set()

    def run(self, times: int = 1, timeout: float | None = None) -> None:
        """Let all functions run once, with *times* fetches."""
        for _ in range(times):
            pusher(self.tasks, self.stop, broker=self.broker)
        self.tasks.put("STOP")
        worker(self.tasks, self.results, self.timer, *([] if timeout is None else [timeout]))
        self.results.put("STOP")
        monitor(self.results, self.broker)


@pytest.fixture
def line(request, settings, db):
    settings.Q_CLUSTER = {"name": "old", "broker_class": "django_q.brokers.memory.MemoryBroker", "bulk": 1}
    HOOKED.clear()
    found = Line(request.node.name[:50])
    yield found
    found.broker.purge_queue()


def test_task_passes_through_the_functions(line):
    task_id = async_task("math.copysign", 2, -2, broker=line.broker, hook=remember, group=7)
    line.run()
    assert result(task_id) == -2
    assert fetch(task_id).group == "7"
    assert count_group(7) == 1
    assert [(task_id, -2)] == HOOKED
    assert line.broker.queue_size() == line.broker.lock_size() == 0


def test_pusher_fetches_once_when_the_event_is_set(line):
    for number in range(3):
        async_task("math.sqrt", number, broker=line.broker)
    pusher(line.tasks, line.stop, line.broker)
    assert line.tasks.qsize() == 1
    assert line.broker.queue_size() == 2
    package = line.tasks.get()
    assert (package["func"], package["args"]) == ("math.sqrt", (0,))
    assert package["ack_id"] is not None


def test_pusher_fetches_until_the_event_is_set(line):
    class After(int):
        asked = 0

        def is_set(self):
            After.asked += 1
            return After.asked > 5

    for number in range(2):
        async_task("math.sqrt", number, broker=line.broker)
    pusher(line.tasks, After(), line.broker)
    assert line.tasks.qsize() == 2


def test_unreadable_package_becomes_a_dead_letter(line):
    line.broker.enqueue("not a package")
    line.run()
    assert line.tasks.qsize() == line.results.qsize() == 0
    assert line.broker.dead_size() == 1


def test_finished_task_in_the_queue_has_its_result(line):
    async_task("math.sqrt", 16, broker=line.broker, save=False)
    pusher(line.tasks, line.stop, line.broker)
    line.tasks.put("STOP")
    worker(line.tasks, line.results, line.timer)
    finished = line.results.get_nowait()
    assert (finished["success"], finished["result"], finished["save"]) == (True, 4, False)
    assert finished["stopped"] >= finished["started"]
    assert line.timer.value == -1


def test_failure_is_saved_with_its_traceback(line, settings):
    settings.Q_CLUSTER = {**settings.Q_CLUSTER, "retry": 1}
    task_id = async_task(fail, broker=line.broker)
    line.run()
    task = Task.objects.get(id=task_id)
    assert not task.success
    assert task.result.startswith("no : Traceback")
    [again] = eventually(lambda: line.broker.dequeue_many(1, 0), within=5)
    assert again.attempt == 2


def test_task_that_is_too_slow_fails(line):
    task_id = async_task(sleep, 20, broker=line.broker)
    line.run(timeout=0.1)
    assert "exceeded maximum timeout value" in Task.objects.get(id=task_id).result


def test_option_timeout_takes_precedence_over_the_argument(line):
    task_id = async_task(sleep, 20, broker=line.broker, timeout=0.1)
    line.run(timeout=60)
    assert not Task.objects.get(id=task_id).success


def test_worker_ends_after_recycle_tasks(line, settings):
    settings.Q_CLUSTER = {**settings.Q_CLUSTER, "recycle": 2}
    for _ in range(3):
        async_task("math.sqrt", 1, broker=line.broker)
        pusher(line.tasks, line.stop, line.broker)
    worker(line.tasks, line.results, line.timer)
    assert line.timer.value == -2
    assert (line.tasks.qsize(), line.results.qsize()) == (1, 2)


def test_chain_and_iter_pass_through_the_functions(line):
    chain = async_chain([("math.sqrt", (16,)), ("math.sqrt", (81,))], broker=line.broker)
    line.run()
    assert count_group(chain) == 1
    line.run()
    assert count_group(chain) == 2
    numbers = async_iter("math.floor", [1.5, 2.5], broker=line.broker)
    line.run(times=2)
    assert result(numbers) == [1, 2]


def test_cached_task_passes_through_the_functions(line):
    task_id = async_task("math.sqrt", 16, broker=line.broker, cached=30)
    line.run()
    assert result_cached(task_id, broker=line.broker) == 4
    assert not Task.objects.exists()


def finished(**more):
    """Return a finished task as a dict."""
    now = timezone.now()
    package = {"id": uuid.uuid4().hex, "name": "a task", "func": "math.sqrt", "args": (16,), "kwargs": {}}
    return {**package, "started": now, "stopped": now, "result": 4, "success": True, **more}


def test_save_task_saves_and_does_not_acknowledge(line):
    line.broker.enqueue("a package")
    [(ack_id, _, _)] = line.broker.dequeue_many(1, 0)
    package = finished(ack_id=ack_id, hook="django_q.tasks.fetch")
    save_task(package, line.broker)
    assert fetch(package["id"]).result == 4
    assert line.broker.lock_size() == 1
    assert package["ack_id"] == ack_id


def test_save_task_saves_a_later_attempt(line):
    package = finished(success=False, result="no")
    save_task(package, line.broker)
    save_task({**package, "success": True, "result": 5, "attempt_count": 2}, line.broker)
    task = Task.objects.get(id=package["id"])
    assert (task.success, task.result, task.attempt_count) == (True, 5, 2)


def test_save_cached_saves_in_the_cache(line):
    package = finished()
    save_cached(package, line.broker)
    assert result_cached(package["id"], broker=line.broker) == 4
    assert not Task.objects.exists()
    cache.clear()


def test_scheduler_sends_what_is_due(line):
    Schedule.objects.create(func="math.sqrt", args="(16,)", next_run=timezone.now() - timedelta(minutes=1))
    scheduler(line.broker)
    line.run()
    assert Task.objects.get().result == 4


def test_functions_use_the_broker_of_the_settings(line):
    task_id = async_task("math.sqrt", 16)
    pusher(line.tasks, line.stop)
    line.tasks.put("STOP")
    worker(line.tasks, line.results, line.timer)
    line.results.put("STOP")
    monitor(line.results)
    assert result(task_id) == 4
    assert isinstance(get_broker(), MemoryBroker)


def test_monitor_without_a_queue_shows_the_clusters(line, capsys):
    monitor(run_once=True)
    monitor(True)
    assert capsys.readouterr().out.count("No clusters appear to be running.") == 2


def test_functions_of_the_terminal_print(line, capsys):
    info()
    assert get_ids() is False
    out = capsys.readouterr().out
    assert "summary" in out
    assert "No clusters appear to be running." in out


def test_memory_of_a_process_is_in_megabytes():
    pytest.importorskip("psutil")
    assert 5 < get_process_mb(os.getpid()) < 5000
    assert get_process_mb(2**22 + 1) == 0


def test_rss_check_compares_with_the_setting(settings):
    settings.Q_CLUSTER = {"max_rss": 1}
    assert rss_check()
    settings.Q_CLUSTER = {"max_rss": 10**9}
    assert not rss_check()
    settings.Q_CLUSTER = {}
    assert not rss_check()


def test_context_has_the_start_method_of_the_settings(settings):
    settings.Q_CLUSTER = {"start_method": "spawn"}
    assert get_mp_context().get_start_method() == "spawn"


def put(numbers):
    numbers.put(2)


def test_queue_knows_its_size():
    numbers = Queue(maxsize=5)
    assert numbers.empty()
    numbers.put(1)
    process = multiprocessing.get_context("fork").Process(target=put, args=(numbers,))
    process.start()
    process.join()
    assert (numbers.qsize(), numbers.empty()) == (2, False)
    assert {numbers.get(timeout=5), numbers.get(timeout=5)} == {1, 2}
    assert numbers.empty()
    with pytest.raises(queue.Empty):
        numbers.get(block=False)
    assert numbers.qsize() == 0


def test_queue_keeps_its_size_in_a_spawned_process():
    numbers = Queue(ctx=multiprocessing.get_context("spawn"))
    process = multiprocessing.get_context("spawn").Process(target=numbers.put, args=(2,))
    process.start()
    process.join()
    assert process.exitcode == 0
    assert numbers.qsize() == 1


def test_counter_is_incremented():
    counter = SharedCounter(3)
    counter.increment()
    counter.increment(-2)
    assert counter.value == 2


def test_months_and_years_end_in_the_calendar():
    assert add_months(date(2025, 1, 31), 1) == date(2025, 2, 28)
    assert add_months(date(2025, 1, 31), -2) == date(2024, 11, 30)
    assert add_months(datetime(2025, 12, 15, 8, 30), 1) == datetime(2026, 1, 15, 8, 30)
    assert add_years(date(2024, 2, 29), 1) == date(2025, 2, 28)
    assert add_years(date(2024, 2, 29), 4) == date(2028, 2, 29)


def test_function_is_described():
    assert get_func_repr(fail) == f"{__name__}.fail"
    assert get_func_repr("math.sqrt") == "math.sqrt"
    assert get_func_repr(None) is None


def test_local_time_is_in_the_time_zone_of_the_setting(settings):
    settings.USE_TZ = True
    settings.Q_CLUSTER = {"time_zone": "Asia/Tokyo"}
    assert localtime().utcoffset() == timedelta(hours=9)
    settings.USE_TZ = False
    assert localtime().tzinfo is None


def test_block_that_is_too_slow_is_interrupted():
    with pytest.raises(TimeoutException), TimeoutHandler(0.05):
        time.sleep(20)
    with TimeoutHandler(None):
        pass


def test_signed_package_is_read_under_its_old_name(line):
    async_task("math.sqrt", 16, broker=line.broker)
    [(_, package, _)] = line.broker.dequeue_many(1, 0)
    assert SignedPackage.loads(package)["func"] == "math.sqrt"
    assert Conf.PREFIX == "old"
