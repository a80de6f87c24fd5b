"""Each execution of a task becomes an outcome."""

from __future__ import annotations

import asyncio
import signal
import sys
import threading
import time
from datetime import UTC, datetime, timedelta
from email import message_from_string
from pathlib import Path

import pytest
from django.utils import timezone
from django.utils.functional import SimpleLazyObject
from django_q.context import current_task
from django_q.exceptions import UnknownFunction
from django_q.execution import Executor
from django_q.functions import describe, resolve
from django_q.settings import ClusterSettings
from django_q.wire.links import next_link
from django_q.wire.metadata import peek
from django_q.wire.outcome import decode
from django_q.wire.package import new_package


def add(a, b=0):
    return a + b


def leave(status):
    sys.exit(status)


def interrupt():
    raise KeyboardInterrupt("now")


def broken():
    raise ValueError("not today")


def give_lambda():
    return lambda: None


def sleep_and_clean(seconds, cleaned):
    try:
        time.sleep(seconds)
    finally:
        cleaned.append(True)


def swallow(seconds):
    try:
        time.sleep(seconds)
    except BaseException:  # noqa: BLE001 - what this test is about
        return "swallowed"
    return "slept"


async def coroutine(value):
    await asyncio.sleep(0)
    return value


class Shelf:
    @classmethod
    def make(cls):
        return cls.__name__


@pytest.fixture
def executor():
    return Executor(ClusterSettings(name="test"))


def run(executor, func, *args, **options):
    kwargs = options.pop("kwargs", {})
    return executor.execute(new_package(func, args, kwargs, **options))


def test_result_of_the_function_is_the_result_of_the_task(executor):
    outcome = run(executor, add, 1, kwargs={"b": 2})
    assert outcome.success
    assert (decode(outcome.result), decode(outcome.args), decode(outcome.kwargs)) == (3, (1,), {"b": 2})


def test_dotted_path_is_imported(executor):
    assert decode(run(executor, "math.copysign", 2, -2).result) == -2.0


def test_package_is_not_changed(executor):
    package = new_package(add, (1,), group="g")
    before = dict(package)
    executor.execute(package)
    assert package == before


@pytest.mark.parametrize(
    ("func", "args", "says"),
    [(broken, (), "not today"), (leave, (3,), "3"), (interrupt, (), "now"), (leave, (None,), "SystemExit")],
)
def test_whatever_is_raised_is_a_failure(executor, func, args, says):
    outcome = run(executor, func, *args)
    assert not outcome.success
    assert decode(outcome.result).startswith(f"{says} : Traceback")
    assert outcome.error == says


def test_traceback_begins_with_the_task(executor):
    trace = decode(run(executor, broken).result)
    assert "django_q/execution/" not in trace
    assert "in broken" in trace


@pytest.mark.parametrize(
    ("path", "says"),
    [
        ("my.buggy.code", "No module named 'my'"),
        ("math.kopysign", "'math' exists, but has no 'kopysign'"),
        ("math.pi", "cannot be called"),
    ],
)
def test_function_that_cannot_be_found_says_what_was_tried(executor, path, says):
    outcome = run(executor, path)
    assert not outcome.success
    assert says in decode(outcome.result)
    with pytest.raises(UnknownFunction, match="'"):
        resolve(path)


@pytest.mark.parametrize(
    "path", ["sum", "math.floor", "os.path.join", "datetime.datetime.now", "django.utils.timezone.now"]
)
def test_function_is_found_wherever_it_is(path):
    assert callable(resolve(path))


def test_function_is_found_in_a_package_under_another_name(monkeypatch, tmp_path):
    """`renaming.mail` is a package under another name, so `resolve` continues with its attributes."""
    (tmp_path / "renaming.py").write_text("import email as mail")
    monkeypatch.syspath_prepend(tmp_path)
    assert resolve("renaming.mail.message_from_string") is message_from_string


@pytest.mark.parametrize("body", ["import nowhere_at_all", "1 / 0", "raise SystemExit(3)", "not Python"])
def test_import_error_of_a_module_is_the_failure(monkeypatch, tmp_path, body):
    (tmp_path / "broken_module.py").write_text(body)
    monkeypatch.syspath_prepend(tmp_path)
    with pytest.raises(UnknownFunction, match="cannot be imported"):
        resolve("broken_module.run")


def test_unpicklable_result_is_a_clear_failure(executor):
    outcome = run(executor, give_lambda)
    assert not outcome.success
    assert "cannot be pickled" in decode(outcome.result)


def test_unpicklable_result_of_a_cached_task_is_a_clear_failure(executor):
    outcome = run(executor, give_lambda, cached=True)
    assert not outcome.success
    assert executor.builder.result_codec.loads(outcome.finished)["success"] is False


class Unencodable:
    """Can be pickled, but django-picklefield asks it for an attribute, and it raises."""

    @property
    def prepare_database_save(self):
        raise RuntimeError("not for a database")


@pytest.mark.parametrize("options", [{"cached": True, "track": True}, {"hook": "m.hook"}])
def test_failure_to_encode_a_result_is_signed_as_one(executor, options):
    outcome = run(executor, Unencodable, **options)
    assert (outcome.success, outcome.final) == (False, True)
    finished = executor.builder.result_codec.loads(outcome.finished)
    assert finished["success"] is False
    assert "cannot be pickled" in finished["result"]


def test_result_that_is_not_kept_is_not_pickled():
    outcome = run(Executor(ClusterSettings(name="test", save_limit=-1)), give_lambda)
    assert outcome.success
    assert outcome.result is None


def test_timeout_raises_inside_the_task_so_that_finally_runs(executor):
    cleaned = []
    outcome = executor.execute(new_package(sleep_and_clean, (5, cleaned), timeout=0.05))
    assert not outcome.success
    assert cleaned == [True]
    assert "Task exceeded maximum timeout value (0.05 seconds)" in outcome.error


def test_timeout_of_the_cluster_counts_when_the_task_has_none():
    outcome = run(Executor(ClusterSettings(name="test", timeout=0.05)), time.sleep, 5)
    assert not outcome.success
    assert "0.05" in outcome.error


def test_task_that_swallows_its_timeout_failed_all_the_same(executor):
    outcome = run(executor, swallow, 5, timeout=0.05)
    assert not outcome.success
    assert "swallowed" in outcome.error


def test_callers_alarm_is_not_disturbed(executor):
    rang = []
    before = signal.signal(signal.SIGALRM, lambda *_: rang.append(True))
    mine = signal.getsignal(signal.SIGALRM)
    try:
        signal.setitimer(signal.ITIMER_REAL, 30)
        run(executor, time.sleep, 5, timeout=0.02)
        assert signal.getsignal(signal.SIGALRM) is mine
        left, _ = signal.getitimer(signal.ITIMER_REAL)
        assert 20 < left <= 30
    finally:
        signal.setitimer(signal.ITIMER_REAL, 0)
        signal.signal(signal.SIGALRM, before)
    assert not rang


def test_task_without_timeout_leaves_the_alarm_alone(executor):
    before = signal.getsignal(signal.SIGALRM)
    run(executor, add, 1)
    assert signal.getsignal(signal.SIGALRM) is before


def test_coroutine_is_awaited(executor):
    assert decode(run(executor, coroutine, 7).result) == 7
    assert decode(run(executor, coroutine, 8).result) == 8


async def leave_running(seen):
    async def background():
        while True:
            seen.append(1)
            await asyncio.sleep(0)

    leave_running.task = asyncio.create_task(background())
    await asyncio.sleep(0)


def test_what_a_coroutine_leaves_running_is_cancelled(executor):
    seen = []
    run(executor, leave_running, seen)
    assert leave_running.task.cancelled()


async def failing_coroutine():
    raise ValueError("wrong")


def test_traceback_of_a_coroutine_begins_in_the_coroutine(executor):
    error = decode(run(executor, failing_coroutine).result)
    assert "in failing_coroutine" in error
    assert error.count("File ") == 1


def open_files():
    return len([*Path("/proc/self/fd").iterdir()])


def test_coroutines_leave_no_files_open(executor):
    before = open_files()
    for _ in range(5):
        run(executor, coroutine, 1)
    assert open_files() == before


async def which():
    return current_task().id


def test_each_coroutine_knows_its_own_task(executor):
    for task_id in ("1" * 32, "2" * 32):
        assert decode(executor.execute(new_package(which, task_id=task_id)).result) == task_id


def test_coroutine_that_times_out_fails_and_the_next_one_runs(executor):
    assert not run(executor, asyncio.sleep, 5, timeout=0.05).success
    assert decode(run(executor, coroutine, 7).result) == 7


class Rude(Exception):
    def __str__(self):
        return self.missing


class Deadly(Exception):
    def __str__(self):
        raise SystemExit(3)

    __repr__ = __str__


class Unpicklable:
    def __reduce__(self):
        raise SystemExit("no licence")


def raise_it(kind, *args):
    raise kind(*args)


def put_lock(context):
    context["lock"] = threading.Lock()
    return 1


def eat(items):
    while items:
        items.pop()
    raise ValueError("eaten")


@pytest.mark.parametrize("kind", [Rude, Deadly])
def test_exception_that_cannot_be_printed_is_a_failure(executor, kind):
    outcome = run(executor, raise_it, kind)
    assert not outcome.success
    assert outcome.error == f"<unprintable {kind.__name__}>"
    assert "raise_it" in decode(outcome.result)


@pytest.mark.parametrize("message", ["caf\udce9.txt", "a\0b", "two\nlines", "\x1b[31m", "x" * 3_000_000])
def test_text_of_an_exception_can_be_stored_and_logged(executor, message):
    outcome = run(executor, raise_it, ValueError, message)
    stored = decode(outcome.result)
    stored.encode()
    assert "\0" not in stored
    assert len(stored) <= 100_000
    assert outcome.error.isprintable()
    assert len(outcome.error) <= 1_000


def test_arguments_are_stored_as_they_were_sent(executor):
    outcome = run(executor, eat, [1, 2, 3])
    assert decode(outcome.args) == ([1, 2, 3],)


@pytest.mark.parametrize("options", [{}, {"cached": True}, {"hook": "m.hook"}])
def test_argument_that_became_unpicklable_is_stored_as_sent(executor, options):
    outcome = run(executor, put_lock, {"a": 1}, **options)
    assert outcome.success
    if options:
        assert executor.builder.result_codec.loads(outcome.finished)["args"] == ({"a": 1},)
    if "cached" not in options:
        assert decode(outcome.args) == ({"a": 1},)


class PickledOnce:
    """Only its sender can pickle it."""

    def __getstate__(self):
        raise RuntimeError("pickled already")


@pytest.mark.parametrize("options", [{}, {"cached": True}, {"hook": "m.hook"}])
def test_task_whose_argument_only_its_sender_can_pickle_is_run(executor, options):
    outcome = run(executor, eat, [PickledOnce()], **options)
    assert outcome.error == "eaten"
    assert "PickledOnce" in decode(outcome.args)[0]


def test_package_whose_arguments_are_no_arguments_fails_alone(executor):
    for arguments in (PickledOnce(), [PickledOnce()], 42):
        outcome = executor.execute(new_package(add, (1,)) | {"args": arguments, "kwargs": arguments})
        assert not outcome.success
        assert decode(outcome.result)


def test_result_whose_pickling_exits_is_a_final_failure(executor):
    outcome = run(executor, Unpicklable)
    assert not outcome.success
    assert outcome.final


def test_result_that_cannot_be_pickled_is_a_final_failure(executor):
    assert run(executor, give_lambda).final
    assert run(executor, give_lambda, cached=True).final
    assert not run(executor, broken).final


@pytest.mark.parametrize(
    ("group", "label"), [(42, "42"), ("x" * 101, "x" * 99 + "…"), ("a\0b", "a\N{REPLACEMENT CHARACTER}b")]
)
def test_label_of_an_older_producer_becomes_plain_text(executor, group, label):
    package = new_package(add, (1,))
    package["group"] = group
    assert executor.execute(package).group == label


def test_outcome_is_made_of_plain_values(executor):
    package = new_package(add, (1,)) | {"cached": "60", "iter_count": "3", "save": "yes", "name": 7, "started": "now"}
    outcome = executor.execute(package)
    assert (outcome.cached, outcome.iter_count, outcome.save, outcome.name) == (False, 0, False, "7")


def test_link_that_cannot_be_read_is_sent_as_a_task_that_fails(executor):
    outcome = run(executor, add, 1, chain=[(5, 6)], group="g")
    assert outcome.success
    (link,) = outcome.following
    failed = executor.execute(executor.codec.loads(link))
    assert not failed.success
    assert failed.group == "g"


def test_task_without_an_outcome_is_a_failure_with_its_arguments(executor):
    signed = executor.codec.dumps(new_package(add, (1,), {"b": [2]}))
    outcome = executor.builder.failed(peek(executor.codec, signed), "killed", ack_id=7, attempt=3)
    assert (outcome.success, decode(outcome.result), outcome.ack_id, outcome.attempt) == (False, "killed", 7, 3)
    assert (decode(outcome.args), decode(outcome.kwargs)) == ((1,), {"b": [2]})


def test_task_without_an_outcome_has_its_arguments_in_its_hook(executor):
    signed = executor.codec.dumps(new_package(add, ([1],), hook="m.hook"))
    outcome = executor.builder.failed(peek(executor.codec, signed), "killed")
    assert outcome.follow_up
    finished = executor.builder.result_codec.loads(outcome.finished)
    assert (finished["args"], finished["success"], finished["result"]) == (([1],), False, "killed")


def test_slow_import_has_a_limit_of_its_own(monkeypatch, tmp_path):
    (tmp_path / "slow_to_import.py").write_text("import time\ntime.sleep(0.2)\ndef f(): return 1\n")
    monkeypatch.syspath_prepend(tmp_path)
    outcome = run(Executor(ClusterSettings(name="test", timeout=0.05)), "slow_to_import.f")
    assert outcome.success


def test_import_that_hangs_is_a_failure(monkeypatch, tmp_path):
    (tmp_path / "hangs_at_import.py").write_text("import time\ntime.sleep(60)\n")
    monkeypatch.syspath_prepend(tmp_path)
    outcome = run(Executor(ClusterSettings(name="test", import_timeout=0.05)), "hangs_at_import.f")
    assert not outcome.success
    assert "import_timeout" in outcome.error


def test_next_link_has_the_same_id_however_often_it_is_made():
    finished = dict(new_package(add, (1,), group="g", chain=[("math.floor", (1.5,), {}), add]))
    first, again = next_link(finished), next_link(finished)
    assert first["id"] == again["id"] != finished["id"]
    assert (first["func"], first["args"], first["group"]) == ("math.floor", (1.5,), "g")
    assert first["chain"] == [add]
    assert next_link(first)["func"] is add


@pytest.mark.parametrize(
    ("func", "name"),
    [
        ("math.floor", "math.floor"),
        (add, f"{__name__}.add"),
        (Shelf.make, f"{__name__}.Shelf.make"),
        (len, "builtins.len"),
    ],
)
def test_function_is_described_by_its_path(func, name):
    assert describe(func) == name


class Meta(type):
    """Raises when the names of the class are read."""

    def __getattribute__(cls, name):
        if name in ("__module__", "__qualname__", "__name__"):
            raise SystemExit(name)
        return super().__getattribute__(name)


class Nameless(metaclass=Meta):
    """Cannot be pickled, and its class has no readable name."""


class Disguised:
    """Raises when its type is read."""

    @property
    def __class__(self):
        raise SystemExit("its type is a secret")


class Guarded(Exception):
    """Raises when its traceback is read."""

    @property
    def __traceback__(self):
        raise SystemExit

    @__traceback__.setter
    def __traceback__(self, value):
        raise SystemExit


HOSTILE_RESULTS = {
    "disguised": Disguised,
    "lazy object that raises": lambda: SimpleLazyObject(lambda: 1 / 0),
    "nameless": Nameless,
}


def returns(kind):
    return HOSTILE_RESULTS[kind]()


def raises_guarded():
    raise Guarded("no")


@pytest.mark.parametrize("save", [True, False])
@pytest.mark.parametrize("kind", HOSTILE_RESULTS)
def test_task_that_returned_is_not_retried_for_its_result(kind, save):
    outcome = Executor(ClusterSettings(name="c")).execute(new_package(returns, (kind,), save=save))
    assert outcome.success or outcome.final


def test_exception_whose_traceback_cannot_be_read_is_a_failure():
    outcome = Executor(ClusterSettings(name="c")).execute(new_package(raises_guarded))
    assert not outcome.success


def test_outcome_that_cannot_be_built_is_a_final_failure(monkeypatch):
    executor = Executor(ClusterSettings(name="c"))

    def build(finished, **options):
        monkeypatch.undo()
        raise SystemExit("unforeseen")

    monkeypatch.setattr(executor.builder, "build", build)
    outcome = executor.execute(new_package("math.sqrt", (4,)), ack_id=5, attempt=2)
    assert (outcome.success, outcome.final, outcome.ack_id, outcome.attempt) == (False, True, 5, 2)
    assert "unforeseen" in (outcome.error or "")


@pytest.mark.parametrize("uses_zones", [True, False])
@pytest.mark.parametrize(
    ("delayed", "waited"), [({}, 60), ({"run_after": 20}, 20), ({"run_after": 600}, 60), ({"run_after": None}, 60)]
)
def test_delayed_task_waits_from_its_earliest_execution(settings, uses_zones, delayed, waited):
    settings.USE_TZ = uses_zones
    started = timezone.now() - timedelta(seconds=60)
    moments = {key: seconds and datetime.now(UTC) - timedelta(seconds=seconds) for key, seconds in delayed.items()}
    package = new_package("math.floor", (1.5,)) | {"started": started} | moments
    assert Executor(ClusterSettings()).execute(package).waited == pytest.approx(waited, abs=5)
