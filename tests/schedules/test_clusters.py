"""Real clusters, the real clock."""

from __future__ import annotations

import os
import time
from collections import Counter
from datetime import datetime, timedelta
from itertools import pairwise

import pytest

from tests.acceptance.site import eventually

SECONDS = int(os.environ.get("DJANGO_Q_SCHEDULE_SECONDS", "8"))
"""Time for which the clusters send; the guarantee is for a minute."""

MANY = int(os.environ.get("DJANGO_Q_SCHEDULES", "60"))
"""Number of schedules of one second; the guarantee is for 500."""

JOB = """
from django_q.signals import pre_execute

def remember(task, **_):
    slot.sent = task["started"].timestamp()

pre_execute.connect(remember)

def slot(number, at):
    note(number, at, time.time(), slot.sent)
"""

WAITING = """
from django_q.conf import current_settings
from django_q.models import OrmQ
from django_q.signing import PackageCodec
codec = PackageCodec.of(current_settings())
packages = [codec.loads(payload) for payload in OrmQ.objects.values_list("payload", flat=True)]
answer = [[p["args"][0], p["kwargs"]["at"], 0, p["started"].timestamp()] for p in packages]
"""


def seconds_late(slot: list, *, begun: bool = False) -> float:
    """Return the delay of a slot, or of the start of its task."""
    _, at, began, sent = slot
    return float(began if begun else sent) - datetime.fromisoformat(at).timestamp()


def noting(project):
    """Make the project's task note its slot, and when it began."""
    with (project.folder / "jobs.py").open("a") as file:
        file.write(JOB)
    return project


@pytest.fixture
def project(one_database):
    """A project whose tasks wait beside its schedules."""
    return noting(one_database)


@pytest.fixture
def apart(make_project, database):
    """A project whose tasks wait in another database than its schedules are in."""
    return noting(make_project(database, "other"))


def every_second(project, count: int, begins: datetime, repeats: int = -1) -> None:
    """Make schedules that are due each second."""
    project.run(
        f"""
from datetime import datetime
from django_q.models import Schedule
Schedule.objects.bulk_create(
    Schedule(func="jobs.slot", args=str(number), schedule_type="C", cron="* * * * * *", repeats={repeats},
             intended_date_kwarg="at", next_run=datetime.fromisoformat("{begins.isoformat()}"))
    for number in range({count})
)
"""
    )


def test_two_clusters_send_each_slot_of_many_schedules_once(project):
    with project.cluster() as one, project.cluster() as two:
        begins = (datetime.now().astimezone() + timedelta(seconds=3 + MANY / 100)).replace(microsecond=0)
        every_second(project, MANY, begins, repeats=SECONDS)

        def shares() -> list[int]:
            return [each.log.count("created task") for each in (one, two)]

        eventually(lambda: sum(shares()) >= MANY * SECONDS, within=SECONDS * 2 + 60, why=shares)
        time.sleep(1)  # a slot that was sent twice would be there now
    sent = [line.split() for line in project.notes()] + project.run(WAITING)
    slots = Counter((int(number), at) for number, at, *_ in sent)
    late = sorted(map(seconds_late, sent))
    print(f"\n{len(slots)} slots, {shares()}; sent late: median {late[len(late) // 2]:.2f} s, worst {late[-1]:.2f} s")
    assert set(slots.values()) == {1}
    assert len(slots) == MANY * SECONDS


def test_a_new_schedule_is_noticed_and_due_ones_start_in_time(project):
    with project.cluster():
        begins = (datetime.now().astimezone() + timedelta(seconds=4)).replace(microsecond=0)
        every_second(project, 1, begins, repeats=5)
        eventually(lambda: len(project.notes()) == 5, within=20)
        project.run("from django_q.tasks import schedule; schedule('jobs.mark', 'now')")
        created = time.monotonic()
        eventually(lambda: "now" in project.notes(), within=10)
        noticed = time.monotonic() - created
    late = [seconds_late(line.split(), begun=True) for line in project.notes() if line != "now"]
    sent = [seconds_late(line.split()) for line in project.notes() if line != "now"]
    print(f"\nsent: {[round(each, 3) for each in sent]}, begun: {[round(each, 3) for each in late]} s late")
    print(f"a new one was noticed after {noticed:.2f} s")
    assert max(sent) < 1
    assert max(late) < 1.5
    assert noticed < 2.5


def test_schedules_go_on_when_their_queue_is_in_another_database(apart):
    """Complaint 10: there, `next_run` never moved, and the task was sent again and again."""
    with apart.cluster() as cluster:
        begins = (datetime.now().astimezone() + timedelta(seconds=3)).replace(microsecond=0)
        every_second(apart, 3, begins, repeats=4)
        eventually(lambda: len(apart.notes()) >= 12, within=20, why=lambda: cluster.log)
        left = apart.run("from django_q.models import Schedule; answer = list(Schedule.objects.values_list('repeats'))")
        assert left == [[0], [0], [0]]
        assert cluster.stop() == 0
        assert "Traceback" not in cluster.log
    slots = Counter(tuple(line.split()[:2]) for line in apart.notes())
    assert len(slots) == 12
    assert set(slots.values()) == {1}


def test_a_slot_is_skipped_while_the_task_before_runs(project):
    with project.cluster() as cluster:
        project.run(
            """
from django_q.tasks import schedule
schedule("jobs.slow", "one", 2.5, schedule_type="C", cron="* * * * * *", overlap=False, name="slow")
"""
        )
        eventually(lambda: project.notes().count("one ends") >= 2, within=30)
        assert "skipped a slot of schedule [slow]" in cluster.log
    begins = [line for line in project.notes() if not line.endswith("ends")]
    ends = [line for line in project.notes() if line.endswith("ends")]
    lines = [line.split()[1] for line in project.notes()]
    assert len(begins) - len(ends) in (0, 1)
    assert all(one != other for one, other in pairwise(lines))  # begins, ends, begins: never two at once


@pytest.mark.parametrize("job", ["mark", "boom"])
def test_task_that_ends_at_once_delays_no_schedule_of_a_queue(make_project, job):
    """Redis is quicker than the scheduler's transaction, and another task is always waiting or running."""
    project = make_project("sqlite", "redis")
    with project.cluster() as cluster:
        project.run(
            f"""
from django_q.tasks import async_task, schedule
async_task("jobs.slow", "busy", 15)
schedule("jobs.{job}", "slot", schedule_type="C", cron="* * * * * *", overlap=False, name="quick")
"""
        )
        eventually(lambda: project.notes().count("slot") >= 4, within=14, why=lambda: cluster.log)
        assert "busy ends" not in project.notes()
