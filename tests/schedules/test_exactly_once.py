"""Each slot is sent once, whichever process dies, and by any number of schedulers."""

from __future__ import annotations

import signal
from collections import Counter

from tests.acceptance.site import eventually

DUE = """
from datetime import datetime, timedelta, UTC
from django_q.models import Schedule, Task
from django_q.brokers import get_broker
from django_q.conf import current_settings
from django_q.schedules import due
NOW = datetime(2025, 6, 2, 12, 0, tzinfo=UTC)
settings = current_settings()
broker = get_broker(settings=settings)
schedules = due.DueSchedules(settings, broker)
"""
TAKE = """
from django_q.signing import PackageCodec
def take():
    found = []
    while deliveries := broker.dequeue_many(1000, 0):
        found += deliveries
    return found
codec = PackageCodec.of(settings)
"""
DIE = "lambda *args, **kwargs: os.kill(os.getpid(), signal.SIGKILL)"
MOMENTS = {
    "before it is sent": f"due.send = due.send_many = {DIE}",
    "after it is sent": f"due.DueSchedules._write = {DIE}",
    "before the commit": f"from django.db import connection; connection.connect(); connection._commit = {DIE}",
}


def test_slot_whose_scheduler_is_killed_is_sent_with_one_result(project):
    for moment, killed in MOMENTS.items():
        made = f"func='jobs.mark', args='1', name={moment!r}, schedule_type='H', next_run=NOW"
        project.run(DUE + f"Schedule.objects.create({made})")
        dead = project.start(DUE + killed + "\nschedules.run_pass(NOW)")
        assert dead.wait(60) == -signal.SIGKILL
        sent, results, next_run = project.run(
            DUE
            + TAKE
            + f"""
from django_q.finishing import Finisher
from django_q.execution import Executor
while schedules.run_pass(NOW).more: pass
executor, finisher = Executor(settings), Finisher(settings, broker)
packages = [(each.ack_id, codec.loads(each.package)) for each in take()]
for ack_id, package in packages:
    finisher.finish([executor.execute(package, ack_id=ack_id)])
schedule = Schedule.objects.get(name={moment!r})
answer = [p["id"] for _, p in packages], Task.objects.filter(group={moment!r}).count(), schedule.next_run
"""
        )
        assert results == len(set(sent)) == 1, moment
        assert next_run == "2025-06-02 13:00:00+00:00", moment
        at_most = 1 if project.where == "same" or moment == "before it is sent" else 2
        assert len(sent) == at_most, moment


def test_however_many_look_each_slot_is_sent_once(one_database):
    schedules, seconds, clusters = 60, 20, 3
    one_database.run(
        DUE
        + f"""
rows = [Schedule(func="jobs.mark", args=str(number), schedule_type="C", cron="* * * * * *", next_run=NOW,
                 intended_date_kwarg="at") for number in range({schedules})]
Schedule.objects.bulk_create(rows)
"""
    )
    racing = [
        one_database.start(
            DUE
            + f"""
from django.db import OperationalError
for second in range({seconds}):
    while True:
        try:
            if not schedules.run_pass(NOW + timedelta(seconds=second)).more: break
        except OperationalError as error:  # a deadlock: the process looks again
            print(error)
"""
        )
        for _ in range(clusters)
    ]
    assert [each.wait(120) for each in racing] == [0] * clusters
    one_database.run(DUE + f"while schedules.run_pass(NOW + timedelta(seconds={seconds - 1})).more: pass")
    sent = one_database.run(
        DUE
        + TAKE
        + """
packages = [codec.loads(delivery.package) for delivery in take()]
answer = [(package["args"][0], package["kwargs"]["at"], package["id"]) for package in packages]
"""
    )
    slots = Counter((number, at) for number, at, _ in sent)
    assert len(slots) == schedules * seconds
    assert set(slots.values()) == {1}
    assert len({task_id for *_, task_id in sent}) == len(sent)


def test_schedule_of_a_dead_scheduler_is_sent_at_once(one_database):
    """The database releases the lock of a dead session, so that no lease has to end first."""
    one_database.run(DUE + "Schedule.objects.create(func='jobs.mark', args='1', schedule_type='H', next_run=NOW)")
    hangs = one_database.start(
        DUE
        + """
import time
due.send_many = lambda *args, **kwargs: (print("sending", flush=True), time.sleep(600))
schedules.run_pass(NOW)
"""
    )
    try:
        assert hangs.stdout.readline() == "sending\n"
    finally:
        hangs.kill()
        hangs.wait(10)
    eventually(lambda: one_database.run(DUE + "answer = len(schedules.run_pass(NOW).sent)") == 1, within=10)
