"""Spans of sending and executing tasks belong to one trace, and an SDK that fails affects no task."""

from __future__ import annotations

from datetime import timedelta

import pytest
from django_q.brokers.memory import MemoryBroker
from django_q.context import current_package
from django_q.exceptions import BrokerUnavailable
from django_q.reporters import task_details
from django_q.settings import ClusterSettings
from django_q.tasks import async_bulk, async_chain, async_iter, async_task, fetch, schedule
from django_q.testing import captured_tasks
from django_q.tracing import Tracer, flush, trace_id

trace = pytest.importorskip("opentelemetry.trace", reason="needs opentelemetry-sdk")
sdk = pytest.importorskip("opentelemetry.sdk.trace", reason="needs opentelemetry-sdk")
export = pytest.importorskip("opentelemetry.sdk.trace.export", reason="needs opentelemetry-sdk")
memory = pytest.importorskip("opentelemetry.sdk.trace.export.in_memory_span_exporter")

pytestmark = pytest.mark.django_db(transaction=True)

seen: list[dict] = []


def remember(*args, **kwargs):
    seen.append({"trace": trace_id(current_package()), "details": task_details(), "keys": set(current_package())})


def fail():
    raise ValueError("no stock")


def send_another():
    async_task("math.floor", 1.5)


class Unprintable(Exception):
    def __str__(self):
        raise SystemExit(3)


def fail_unprintably():
    raise Unprintable


@pytest.fixture
def exported(monkeypatch):
    """Return a function that returns the spans that have ended, oldest first."""
    exporter = memory.InMemorySpanExporter()
    provider = sdk.TracerProvider()
    provider.add_span_processor(export.SimpleSpanProcessor(exporter))
    monkeypatch.setattr(trace, "get_tracer_provider", lambda: provider)
    monkeypatch.setattr(trace, "get_tracer", provider.get_tracer)
    seen.clear()
    return lambda: sorted(exporter.get_finished_spans(), key=lambda span: span.start_time)


@pytest.fixture
def tasks(exported):
    with captured_tasks(tracing=True, name="shop", max_attempts=1) as captured:
        yield captured


def named(spans, name):
    return [span for span in spans if span.name == name]


def test_execution_is_a_child_of_the_sending_and_linked_to_it(tasks, exported):
    async_task("math.copysign", 2, -2, group="prices")
    tasks.run()
    send, process = exported()
    assert (send.name, send.kind) == ("send shop", trace.SpanKind.PRODUCER)
    assert (process.name, process.kind) == ("process shop", trace.SpanKind.CONSUMER)
    assert process.context.trace_id == send.context.trace_id
    assert process.parent.span_id == send.context.span_id
    assert [link.context.span_id for link in process.links] == [send.context.span_id]


def test_spans_follow_the_conventions_for_messaging(tasks, exported):
    task = async_task("math.copysign", 2, -2, group="prices")
    tasks.run()
    send, process = exported()
    common = {
        "messaging.system": "django_q",
        "messaging.destination.name": "shop",
        "messaging.message.id": str(task),
        "code.function.name": "math.copysign",
        "django_q.task.name": fetch(task).name,
        "django_q.task.group": "prices",
    }
    operation = lambda name: {"messaging.operation.name": name, "messaging.operation.type": name}  # noqa: E731
    assert dict(send.attributes) == common | operation("send")
    assert dict(process.attributes) == common | operation("process") | {"django_q.task.attempt": 1}


def test_caller_is_the_parent(tasks, exported):
    with trace.get_tracer("site").start_as_current_span("request") as request:
        async_task("math.floor", 1.5)
    tasks.run()
    assert {span.context.trace_id for span in exported()} == {request.context.trace_id}


def test_task_that_sends_a_task_keeps_the_trace(tasks, exported):
    async_task(f"{__name__}.send_another")
    tasks.run()
    spans = exported()
    assert [span.name for span in spans] == ["send shop", "process shop", "send shop", "process shop"]
    assert len({span.context.trace_id for span in spans}) == 1


def test_hook_keeps_the_trace(tasks, exported):
    async_task("math.floor", 1.5, hook=f"{__name__}.remember")
    tasks.run()
    _, process, hook = exported()
    assert hook.name == f"hook {__name__}.remember"
    assert hook.parent.span_id == process.context.span_id
    assert seen[0]["trace"] == f"{process.context.trace_id:032x}"


def test_chain_keeps_the_trace(tasks, exported):
    async_chain([("math.floor", (1.5,)), ("math.ceil", (1.5,)), ("math.floor", (2.5,))])
    tasks.run()
    spans = exported()
    assert len(named(spans, "process shop")) == 3
    assert len({span.context.trace_id for span in spans}) == 1


def test_iter_and_its_callback_keep_the_trace(tasks, exported):
    async_iter("math.floor", [(1.5,), (2.5,)], q_options={"callback": f"{__name__}.remember"})
    tasks.run()
    spans = exported()
    assert len(named(spans, "process shop")) == 3  # two members, and the task of the callback
    assert len({span.context.trace_id for span in spans}) == 1
    assert len(seen) == 1


def test_tasks_sent_together_have_one_span(tasks, exported):
    async_bulk([("math.floor", (1.5,)), ("math.ceil", (1.5,))])
    tasks.run()
    [send] = named(exported(), "send shop")
    assert send.attributes["messaging.batch.message_count"] == 2
    assert "messaging.message.id" not in send.attributes
    assert [span.parent.span_id for span in named(exported(), "process shop")] == [send.context.span_id] * 2


def test_schedule_begins_a_trace(tasks, exported):
    made = schedule("math.floor", 1.5, schedule_type="O")
    tasks.run(until=timedelta(seconds=1))
    send, process = exported()
    assert send.parent is None
    assert process.parent.span_id == send.context.span_id
    assert process.attributes["django_q.schedule.id"] == str(made.pk)


def test_failure_is_recorded(tasks, exported):
    async_task(f"{__name__}.fail")
    tasks.run()
    process = exported()[-1]
    assert process.status.status_code == trace.StatusCode.ERROR
    assert process.attributes["error.type"] == "ValueError"
    [event] = process.events
    assert event.attributes["exception.message"] == "no stock"
    assert "no stock" in event.attributes["exception.stacktrace"]


def test_exception_without_a_text_is_recorded(tasks, exported):
    async_task(f"{__name__}.fail_unprintably")
    tasks.run()
    assert exported()[-1].attributes["error.type"] == f"{__name__}.Unprintable"


def test_sending_that_fails_is_recorded(exported, settings, monkeypatch):
    settings.Q_CLUSTER = {"name": "shop", "tracing": True, "broker_class": "django_q.brokers.memory.MemoryBroker"}
    monkeypatch.setattr(MemoryBroker, "enqueue", lambda *args, **options: (_ for _ in ()).throw(BrokerUnavailable))
    with pytest.raises(BrokerUnavailable):
        async_task("math.floor", 1.5)
    [send] = exported()
    assert send.status.status_code == trace.StatusCode.ERROR


def test_reports_have_the_trace(tasks, exported):
    async_task(f"{__name__}.remember")
    tasks.run()
    assert seen[0]["details"]["trace"] == f"{exported()[-1].context.trace_id:032x}"


def test_sync_mode_is_traced(exported, settings):
    settings.Q_CLUSTER = {"name": "shop", "tracing": True, "sync": True}
    async_task("math.floor", 1.5)
    send, process = exported()
    assert process.parent.span_id == send.context.span_id


def test_off_by_default(exported):
    with captured_tasks() as captured:
        async_task(f"{__name__}.remember")
        captured.run()
    assert exported() == []
    assert seen[0]["trace"] is None
    assert "trace" not in seen[0]["keys"]


@pytest.mark.parametrize(
    "value", [42, "text", [], {"traceparent": 3}, {"traceparent": "\0"}, {"traceparent": "00-1-2-3"}, {3: "x"}]
)
def test_unusable_context_is_ignored(exported, value):
    tracer = Tracer.of(True)
    with tracer.span("process", "CONSUMER", value, {}) as span:
        assert span.carrier
    assert exported()[0].parent is None
    assert trace_id({"trace": value}) is None


class Broken(sdk.SpanProcessor):
    def on_start(self, span, parent_context=None):
        raise OSError("no memory")

    def on_end(self, span):
        raise OSError("no network")


def test_broken_sdk_affects_no_task_and_is_logged_once(monkeypatch, caplog):
    provider = sdk.TracerProvider()
    provider.add_span_processor(Broken())
    monkeypatch.setattr(trace, "get_tracer", provider.get_tracer)
    with captured_tasks(tracing=True) as captured:
        first, second = async_task("math.floor", 1.5), async_task("math.floor", 2.5)
        captured.run()
    assert (fetch(first).result, fetch(second).result) == (1, 2)
    assert [record.django_q_event for record in caplog.records].count("tracing.failed") == 1


def test_spans_are_exported_before_a_process_ends(monkeypatch):
    waited = []
    provider = type("Provider", (), {"force_flush": lambda self, milliseconds: waited.append(milliseconds)})()
    monkeypatch.setattr(trace, "get_tracer_provider", lambda: provider)
    flush(ClusterSettings(tracing=True))
    flush(ClusterSettings())
    assert waited == [2000]


def test_without_the_library_nothing_is_traced(monkeypatch):
    monkeypatch.setattr("django_q.tracing.is_installed", lambda: False)
    Tracer.of.cache_clear()
    try:
        with captured_tasks(tracing=True) as captured:
            task = async_task("math.floor", 1.5)
            captured.run()
        assert fetch(task).result == 1
    finally:
        Tracer.of.cache_clear()
