"""A failing schedule is marked with its root cause, and the others are sent."""

from __future__ import annotations

import sys
from datetime import UTC, datetime, timedelta

import pytest
from django.db import DataError
from django_q.brokers.memory_queue import MemoryQueue
from django_q.exceptions import BrokerError, BrokerUnavailable, PackageTooLarge, UnknownFunction
from django_q.models import Schedule
from django_q.schedules import due as module
from django_q.schedules.reasons import RollBack, reason_of
from django_q.signals import pre_enqueue
from django_q.wire.codec import PackageCodec

pytestmark = pytest.mark.django_db

NOW = datetime(2025, 6, 2, 12, 0, tzinfo=UTC)
RETRY = timedelta(seconds=30)


class Unprintable(Exception):
    def __str__(self) -> str:
        raise SystemExit(1)


HOSTILE = {
    "surrogate": 'raise RuntimeError("no file caf\\udce9.txt")',
    "nul": 'raise RuntimeError("a\\0b")',
    "long": 'raise RuntimeError("x" * 30_000_000)',
    "lines": 'raise RuntimeError("a\\nERROR forged\\r\\x1b[31mline")',
    "unprintable": "class E(Exception):\n    def __str__(self): raise SystemExit(1)\nraise E",
    "exit": "raise SystemExit(1)",
    "interrupt": "raise KeyboardInterrupt",
    "base": "raise BaseException('no')",
    "syntax": "def (:",
    "empty": "raise RuntimeError",
    "cause": "try: 1 / 0\nexcept ZeroDivisionError as error: raise RuntimeError('outer') from error",
    "attribute": "raise AttributeError('no')",
    "getattr": "def __getattr__(name): raise ValueError(name)",
}


@pytest.fixture
def broken(monkeypatch, tmp_path):
    """Write a module of the project."""
    monkeypatch.syspath_prepend(tmp_path)

    def write(text: str) -> str:
        (tmp_path / "hostile_module.py").write_text(text)
        return "hostile_module.report"

    yield write
    sys.modules.pop("hostile_module", None)


def check(schedule: Schedule) -> str:
    """Return the reason that is marked, which every page and log can show."""
    schedule.refresh_from_db()
    assert (schedule.runs, schedule.retry_at) == (0, NOW + RETRY)
    assert schedule.last_error.isprintable()
    assert len(schedule.last_error) < 5_000
    return schedule.last_error


@pytest.mark.parametrize("text", HOSTILE.values(), ids=HOSTILE)
def test_module_that_cannot_be_imported_marks_its_schedule_alone(clockwork, due, broken, text):
    bad, good = due(func=broken(text), name="bad"), due(name="good")
    [package] = clockwork().play()
    assert package["group"] == "good"
    assert check(bad)
    good.refresh_from_db()
    assert good.last_error is None


def test_root_cause_of_a_failed_import_is_shown(clockwork, due, broken):
    bad = due(func=broken(HOSTILE["surrogate"]))
    clockwork().play()
    assert "no file caf\N{REPLACEMENT CHARACTER}.txt" in check(bad)


@pytest.mark.parametrize(
    "columns",
    [
        {"args": "nonsense("},
        {"args": "(" * 5000},
        {"args": "x" * 1_000_000},
        {"kwargs": "{1: 2}"},
        {"kwargs": "q_options={'tiemout': 5}"},
        {"kwargs": "q_options={'timeout': 'long'}"},
        {"kwargs": "q_options=5"},
        {"kwargs": "q_options={'group': ['a']}"},
        {"schedule_type": "C", "cron": "nonsense"},
        {"schedule_type": "I", "minutes": None},
        {"schedule_type": "X"},
        {"wall": "no date"},
        {"func": "no_such_module.f"},
        {"func": "math"},
        {"func": ""},
        {"func": "."},
        {"func": "a" * 256},
        {"hook": "\N{SNOWMAN}" * 250, "args": "nonsense("},
    ],
    ids=lambda columns: next(iter(columns)),
)
def test_row_that_is_invalid_marks_itself_alone(clockwork, due, columns):
    bad, _ = due(), due(name="good")
    Schedule.objects.filter(pk=bad.pk).update(**columns)
    sent = clockwork().play()
    assert [package["group"] for package in sent if package["schedule"] != str(bad.pk)] == ["good"]
    bad.refresh_from_db()
    assert bad.last_error or len(sent) == 2  # some values are accepted
    if bad.last_error:
        check(bad)


@pytest.mark.parametrize("overlap", [True, False])
@pytest.mark.parametrize("error", [PackageTooLarge("caf\udce9"), BrokerError(Unprintable()), Unprintable()])
def test_package_that_a_broker_refuses_marks_its_schedule_alone(clockwork, due, monkeypatch, error, overlap):
    bad, _ = due(args="'refused'", overlap=overlap), due(name="good")
    put = MemoryQueue.put
    clock = clockwork()
    loads = PackageCodec.of(clock.settings).loads

    def refuse(self, packages, delay, *more):
        if any("refused" in str(loads(package)["args"]) for package in packages):
            raise error
        return put(self, packages, delay, *more)

    monkeypatch.setattr(MemoryQueue, "put", refuse)
    assert [package["group"] for package in clock.play()] == ["good"]
    assert check(bad)
    assert bad.waiting_for is None


def test_receiver_that_exits_affects_no_other_schedule(clockwork, due):
    due(args="'bad'"), due(name="good")

    def receive(task, **more) -> None:
        if task["args"] == ("bad",):
            raise SystemExit(1)

    pre_enqueue.connect(receive)
    try:
        assert "good" in [package["group"] for package in clockwork().play()]
    finally:
        pre_enqueue.disconnect(receive)


@pytest.mark.parametrize("beside", [True, False], ids=["queue in the same database", "queue elsewhere"])
def test_error_text_that_a_database_refuses_is_written_in_ascii(clockwork, due, monkeypatch, beside):
    """For example one with an accent, in a database with LATIN1 or ASCII."""
    bad, good = due(args="'é' + nonsense(", overlap=False), due(name="good")
    update = module.DueSchedules._update

    def refuse(self, written):
        if any(schedule.last_error and not schedule.last_error.isascii() for schedule, _ in written):
            raise DataError("character with no equivalent in encoding LATIN1")
        update(self, written)

    monkeypatch.setattr(module.DueSchedules, "_update", refuse)
    clock = clockwork()
    if beside:
        clock.broker.alias = "default"
    assert [package["group"] for package in clock.play()] == ["good"]
    assert check(bad).isascii()
    assert r"\xe9" in bad.last_error
    good.refresh_from_db()
    assert good.runs == 1


def test_value_that_a_database_refuses_marks_its_schedule_alone(clockwork, due, monkeypatch):
    bad, _ = due(name="bad"), due(name="good")
    update = module.DueSchedules._update

    def refuse(self, written):
        if any(schedule.pk == bad.pk for schedule, _ in written):
            raise OverflowError("Python int too large")
        update(self, written)

    monkeypatch.setattr(module.DueSchedules, "_update", refuse)
    clock = clockwork()
    clock.broker.alias = "default"
    clock.run_pass(NOW)
    good = Schedule.objects.get(name="good")
    assert (good.runs, good.last_error) == (1, None)
    assert "too large" in check(bad)


# the reason


def caused(error: BaseException, *causes: BaseException) -> BaseException:
    """Chain exceptions."""
    first = error
    for cause in causes:
        error.__cause__ = cause
        error = cause
    return first


@pytest.mark.parametrize(
    ("error", "reason"),
    [
        (ValueError("no"), "ValueError: no"),
        (ValueError(), "ValueError"),
        (caused(ValueError("no"), KeyError("hidden")), "ValueError: no"),
        (caused(RollBack(), ValueError("no")), "ValueError: no"),
        (caused(BrokerUnavailable("away"), OSError("refused")), "BrokerUnavailable: away, caused by OSError: refused"),
        (caused(BrokerUnavailable("away: refused"), OSError("refused")), "BrokerUnavailable: away: refused"),
        (caused(UnknownFunction("no f"), RuntimeError()), "UnknownFunction: no f, caused by RuntimeError"),
        (
            caused(UnknownFunction("no f"), Unprintable()),
            "UnknownFunction: no f, caused by Unprintable: <unprintable Unprintable>",
        ),
        (caused(RollBack(), BrokerError("away"), OSError("refused")), "BrokerError: away, caused by OSError: refused"),
        (ValueError("a\nb\0\udce9"), "ValueError: a\\nb\N{REPLACEMENT CHARACTER}\N{REPLACEMENT CHARACTER}"),
    ],
)
def test_reason_is_one_line_with_the_root_cause(error, reason):
    assert reason_of(error) == reason


def test_causes_that_go_in_circles_end():
    error = BrokerError("a")
    error.__cause__ = BrokerError("b")
    error.__cause__.__cause__ = error
    assert len(reason_of(error)) < 200
