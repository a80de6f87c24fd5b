"""Counts in shared memory, and their text for Prometheus."""

from __future__ import annotations

from datetime import UTC, datetime, timedelta

import pytest
from django_q.cluster.ipc.state import ClusterState, WorkerState
from django_q.cluster.metrics.counting import CountingFinisher, CountingSlot
from django_q.cluster.metrics.survey import QueueSizes
from django_q.cluster.metrics.tallies import BUCKETS, MAX_FUNCTIONS, OTHER, Tallies

parser = pytest.importorskip("prometheus_client.parser")
exposition = pytest.importorskip("django_q.cluster.metrics.exposition")


def samples(tallies: Tallies, state: ClusterState | None = None, queues=None, waits=None) -> dict:
    """Return the values of all metrics, as the parser of Prometheus reads them."""
    source = exposition.Source("mysite", state or ClusterState(1), tallies, queues, waits)
    families = parser.text_string_to_metric_families(exposition.exposition(source).decode())
    return {
        (sample.name, *sorted(value for key, value in sample.labels.items() if key != "cluster")): sample.value
        for family in families
        for sample in family.samples
    }


def test_finished_attempts_are_counted_by_function_and_outcome():
    tallies = Tallies(1)
    for outcome in ("success", "success", "failure"):
        tallies.finished("math.floor", outcome, 0.02, 1.5)
    found = samples(tallies)
    assert found["django_q_tasks_finished_total", "math.floor", "success"] == 2
    assert found["django_q_tasks_finished_total", "failure", "math.floor"] == 1
    assert found["django_q_tasks_finished_total", "cancelled", "math.floor"] == 0
    assert found["django_q_task_run_seconds_count", "math.floor"] == 3
    assert found["django_q_task_run_seconds_sum", "math.floor"] == pytest.approx(0.06)
    assert found["django_q_task_run_seconds_bucket", "0.01", "math.floor"] == 0
    assert found["django_q_task_run_seconds_bucket", "0.025", "math.floor"] == 3
    assert found["django_q_task_wait_seconds_bucket", "+Inf", "math.floor"] == 3


def test_duration_equal_to_a_bound_is_in_its_bucket():
    tallies = Tallies(1)
    for seconds in (*BUCKETS, 10_000.0):
        tallies.finished("f", "success", seconds, None)
    found = samples(tallies)
    for number, bound in enumerate(BUCKETS, 1):
        assert found["django_q_task_run_seconds_bucket", str(bound), "f"] == number
    assert found["django_q_task_run_seconds_bucket", "+Inf", "f"] == len(BUCKETS) + 1
    assert found["django_q_task_wait_seconds_count", "f"] == 0


def test_number_of_functions_is_limited():
    tallies = Tallies(1)
    for number in range(MAX_FUNCTIONS + 50):
        tallies.finished(f"jobs.number_{number}", "success", 0.1, 0.1)
    functions = tallies.functions()
    assert len(functions) == MAX_FUNCTIONS + 1
    assert (functions[0].function, functions[0].outcomes["success"]) == (OTHER, 50)
    assert samples(tallies)["django_q_tasks_finished_total", OTHER, "success"] == 50


@pytest.mark.parametrize("name", ["x" * 1000, 'quo"te\\back\nline', "ünï", "\ud800", ""])
def test_any_name_of_a_function_can_be_parsed(name):
    tallies = Tallies(1)
    for _ in range(2):
        tallies.finished(name, "success", 0.1, None)
    (tally,) = tallies.functions()[1:]
    assert tally.outcomes["success"] == 2
    assert samples(tallies)["django_q_tasks_finished_total", *sorted((tally.function, "success"))] == 2


def test_queues_and_servers_are_gauges():
    found = samples(Tallies(1), queues={"mail": QueueSizes(7, 3, 1)}, waits={"mail": 12.5})
    assert found["django_q_queue_waiting_tasks", "mail"] == 7
    assert found["django_q_queue_in_flight_tasks", "mail"] == 3
    assert found["django_q_queue_dead_letters", "mail"] == 1
    assert found["django_q_queue_oldest_waiting_seconds", "mail"] == 12.5
    assert found["django_q_server_up", "broker"] == found["django_q_server_up", "database"] == 1


@pytest.mark.parametrize(
    ("listed", "recorded", "age"), [(7.0, 12.5, 12.5), (30.0, 12.5, 30.0), (None, 12.5, 12.5), (30.0, None, 30.0)]
)
def test_age_is_that_of_the_queue_or_of_tracked_tasks(listed, recorded, age):
    waits = None if recorded is None else {"mail": recorded}
    found = samples(Tallies(1), queues={"mail": QueueSizes(7, 3, 1, listed)}, waits=waits)
    assert found["django_q_queue_oldest_waiting_seconds", "mail"] == age


def test_unavailable_server_leaves_its_gauges_out():
    found = samples(Tallies(1), waits={"mail": 0.0})
    assert found["django_q_server_up", "broker"] == 0
    assert found["django_q_server_up", "database"] == 1
    assert not [name for name, *_ in found if name == "django_q_queue_waiting_tasks"]


def test_busy_workers_and_restarts():
    state, tallies = ClusterState(3), Tallies(3)
    for slot in state.slots[:2]:
        slot.pid, slot.state = 1, WorkerState.IDLE
    state.slots[0].state = WorkerState.BUSY
    tallies.restarts["monitor"].add()
    tallies.lost_leases["pusher"].add(2)
    tallies.lost_leases["monitor"].add(3)
    found = samples(tallies, state)
    assert (found["django_q_workers", "busy"], found["django_q_workers", "idle"]) == (1, 1)
    assert found["django_q_process_restarts_total", "monitor"] == 1
    assert found["django_q_process_restarts_total", "worker"] == 0
    assert found["django_q_leases_lost_total",] == 5


def test_only_tasks_count_as_started():
    state, tallies = ClusterState(2), Tallies(2)
    slot = CountingSlot(state.slots[1], tallies.started[1])
    slot.begin(b"task", 1.0, 5)
    slot.begin(b"follow-up", 1.0)
    assert (state.slots[1].taken, state.slots[1].message()) == (5, b"follow-up")
    assert samples(tallies)["django_q_tasks_started_total",] == 1


def test_outcomes_are_counted_once(outcome, settings_of):
    tallies = Tallies(1)
    finisher = CountingFinisher(settings_of(), None, tallies, lambda *_: None)
    for each in (
        outcome(duration=0.5),
        outcome(duration=0.5, success=False),
        outcome(success=False, cancelled=True),
        outcome(repeated=True),
    ):
        finisher.announce(each)
    (tally,) = tallies.functions()[1:]
    assert tally.outcomes == {"success": 1, "failure": 1, "cancelled": 1}
    assert sum(tally.run.counts) == 2


def test_waiting_time_is_that_of_first_attempts(outcome):
    sent = datetime(2025, 6, 2, tzinfo=UTC)
    times = {"started": sent, "stopped": sent + timedelta(seconds=5), "duration": 2.0}
    assert outcome(**times).waited == 3.0
    assert outcome(**times, attempt=2).waited is None
    assert outcome(**times | {"duration": None}).waited is None
    assert outcome(**times | {"stopped": sent}).waited == 0.0
