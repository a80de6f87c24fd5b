"""Traces tasks with OpenTelemetry, if the setting `tracing` is true: spans for sending and executing them.

The W3C trace context travels in the package under the key `trace`, which the public editions ignore. Names and
attributes follow the semantic conventions: https://opentelemetry.io/docs/specs/semconv/messaging/messaging-spans/.
"""

from __future__ import annotations

from contextlib import AbstractContextManager, contextmanager, nullcontext
from functools import cache
from importlib import import_module
from importlib.util import find_spec
from typing import TYPE_CHECKING, Any, Final, Self

from django_q.brokers.process_local import ProcessLocal
from django_q.functions import describe
from django_q.log import messages as log
from django_q.text import MAX_TEXT_CHARACTERS, bounded, class_path, text_of

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator, Mapping, Sequence

    from opentelemetry.trace import Span

    from django_q.settings import ClusterSettings
    from django_q.wire.package import TaskPackage

FLUSH_SECONDS: Final = 2.0
"""Maximum time for which a process that ends waits until its spans are exported."""

MAX_ATTRIBUTE_CHARACTERS: Final = 1_000
"""Maximum length of a text in a span, except for tracebacks."""

SYSTEM: Final = "django_q"
"""Value of the attribute `messaging.system`."""

OFF: Final = nullcontext()
"""Context manager that traces nothing."""


def is_installed() -> bool:
    """Return True if opentelemetry-api is installed."""
    return find_spec("opentelemetry") is not None and find_spec("opentelemetry.trace") is not None


class Tracer:
    """The API of OpenTelemetry, for this project. Without an SDK in the process, its calls have no effect."""

    def __init__(self) -> None:
        self.api = import_module("opentelemetry.trace")
        self.propagator = import_module("opentelemetry.trace.propagation.tracecontext").TraceContextTextMapPropagator()

    @classmethod
    @cache
    def of(cls, enabled: bool) -> Self | None:
        """Return the tracer of this process, or None if tracing is off or the library is not installed.

        Args:
            enabled: the setting `tracing`.
        """
        return cls() if enabled and is_installed() else None

    def span(self, name: str, kind: str, parent: object, attributes: Mapping[str, Any]) -> TracedSpan:
        """Return a span that begins when its block begins.

        Args:
            name: name of the span.
            kind: name of its kind, such as `PRODUCER`.
            parent: trace context in a package; anything else than a valid one means the current span.
            attributes: values by name; those that are None are omitted.
        """
        carrier = parent if isinstance(parent, dict) and all(type(each) is str for each in parent.values()) else {}
        context = self.propagator.extract(carrier)
        origin = self.api.get_current_span(context).get_span_context()
        links = [self.api.Link(origin)] if origin.is_valid else []
        texts = {key: value if isinstance(value, int) else short(value) for key, value in attributes.items() if value}
        manager = self.api.get_tracer("django_q").start_as_current_span(
            name,
            context if links else None,
            kind=self.api.SpanKind[kind],
            attributes=texts,
            links=links,
            record_exception=False,
        )
        return TracedSpan(self, manager)

    def carrier(self) -> dict[str, str]:
        """Return the W3C context of the current span; empty if there is none."""
        found: dict[str, str] = {}
        _protect(lambda: self.propagator.inject(found))
        return found


class TracedSpan(AbstractContextManager["TracedSpan"]):
    """A block that is traced. An error of the SDK is logged once in a process, and does not affect the block.

    Args:
        tracer: the API.
        manager: context manager of the span.
    """

    def __init__(self, tracer: Tracer, manager: AbstractContextManager[Span]) -> None:
        self.tracer, self.manager = tracer, manager
        self.span: Span | None = None

    def __enter__(self) -> Self:
        _protect(self._begin)
        return self

    def _begin(self) -> None:
        self.span = self.manager.__enter__()

    def __exit__(self, *raised: object) -> None:
        error = raised[1]
        if isinstance(error, Exception):
            self.fail(error, "")
        if self.span is not None:
            _protect(lambda: self.manager.__exit__(None, None, None))

    @property
    def carrier(self) -> dict[str, str]:
        """The W3C context of the span; empty if it is not recorded."""
        return {} if self.span is None else self.tracer.carrier()

    def fail(self, error: BaseException, traceback: str) -> None:
        """Record that the block failed.

        Args:
            error: the exception.
            traceback: its traceback; empty if it has no use.
        """
        if self.span is not None:
            _protect(lambda: self._fail(error, traceback))

    def _fail(self, error: BaseException, traceback: str) -> None:
        assert self.span is not None
        kind, message = class_path(error).removeprefix("builtins."), short(error)
        event = {"exception.type": kind, "exception.message": message}
        if traceback:
            event["exception.stacktrace"] = bounded(traceback, MAX_TEXT_CHARACTERS)
        self.span.add_event("exception", event)
        self.span.set_attribute("error.type", kind)
        self.span.set_status(self.tracer.api.Status(self.tracer.api.StatusCode.ERROR, message))


def sending(
    packages: Sequence[TaskPackage], queue: str, settings: ClusterSettings
) -> AbstractContextManager[TracedSpan | None]:
    """Trace the sending of packages, which get the context of the span.

    Args:
        packages: the packages, not signed yet.
        queue: name of the queue.
        settings: of the sender.
    """
    tracer = Tracer.of(settings.tracing)
    return OFF if tracer is None or not packages else _sending(tracer, packages, queue)


@contextmanager
def _sending(tracer: Tracer, packages: Sequence[TaskPackage], queue: str) -> Iterator[TracedSpan]:
    only = packages[0] if len(packages) == 1 else None
    count = {"messaging.batch.message_count": None if only else len(packages)}
    with tracer.span(f"send {queue}", "PRODUCER", None, _attributes(only or {}, queue, "send") | count) as span:
        if carrier := span.carrier:
            for package in packages:
                package["trace"] = carrier
        yield span


def processing(tracer: Tracer, package: TaskPackage, attempt: int, queue: str) -> TracedSpan:
    """Return a span for the execution of a task: a child of the span that sent it, and linked to it.

    Args:
        tracer: of this process.
        package: package of the task.
        attempt: number of the attempt.
        queue: name of the queue, if the package names none.
    """
    queue = package.get("cluster") or queue
    attributes = _attributes(package, queue, "process") | {"django_q.task.attempt": attempt}
    return tracer.span(f"process {queue}", "CONSUMER", package.get("trace"), attributes)


def following(
    package: Mapping[str, Any], what: object, settings: ClusterSettings
) -> AbstractContextManager[TracedSpan | None]:
    """Trace a hook of a finished task, or its receivers, as a child of its execution.

    Args:
        package: the finished package.
        what: the hook; None for receivers.
        settings: of the cluster.
    """
    tracer = Tracer.of(settings.tracing)
    if tracer is None:
        return OFF
    name = "post_execute" if what is None else f"hook {short(describe(what))}"
    return tracer.span(name, "INTERNAL", package.get("trace"), {"messaging.message.id": package.get("id")})


def _attributes(package: Mapping[str, Any], queue: str, operation: str) -> dict[str, Any]:
    return {
        "messaging.system": SYSTEM,
        "messaging.destination.name": queue,
        "messaging.operation.name": operation,
        "messaging.operation.type": operation,
        "messaging.message.id": package.get("id"),
        "code.function.name": describe(package["func"]) if "func" in package else None,
        "django_q.task.name": package.get("name"),
        "django_q.task.group": package.get("group"),
        "django_q.schedule.id": package.get("schedule"),
    }


def current_parent(settings: ClusterSettings) -> str | None:
    """Return the W3C `traceparent` of the current span; None if there is none."""
    tracer = Tracer.of(settings.tracing)
    return None if tracer is None else tracer.carrier().get("traceparent")


def trace_id(package: Mapping[str, Any]) -> str | None:
    """Return the id of the trace to which a package belongs: 32 hexadecimal digits. None if it has none."""
    carrier = package.get("trace")
    parent = carrier.get("traceparent") if isinstance(carrier, dict) else None
    parts = parent.split("-") if isinstance(parent, str) else []
    return parts[1] if len(parts) == 4 and len(parts[1]) == 32 else None


def flush(settings: ClusterSettings, seconds: float = FLUSH_SECONDS) -> None:
    """Wait until the spans of this process are exported.

    Args:
        settings: of the cluster.
        seconds: maximum time.
    """
    tracer = Tracer.of(settings.tracing)
    if tracer is not None:
        export = getattr(tracer.api.get_tracer_provider(), "force_flush", None)
        if export is not None:
            _protect(lambda: export(int(seconds * 1000)))


def short(value: object) -> str:
    """Return the text of a value for an attribute."""
    return bounded(text_of(value), MAX_ATTRIBUTE_CHARACTERS)


_failed: Final[ProcessLocal[list[bool]]] = ProcessLocal(list)
"""Not empty if a failure of the SDK was logged in this process."""


def _protect(call: Callable[[], object]) -> None:
    """Call the SDK. Log its first error, and go on."""
    try:
        call()
    except Exception as error:  # noqa: BLE001 - span processors and exporters are code of the project
        if not _failed.get():
            _failed.get().append(True)
            log.tracing.failed(error)
