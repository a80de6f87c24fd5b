"""Back end of `django.tasks`: `TASKS = {"default": {"BACKEND": "django_q.backend.DjangoQBackend"}}`."""

from __future__ import annotations

from dataclasses import dataclass, fields
from functools import partial
from typing import TYPE_CHECKING, Any, Final

from django.core import checks
from django.db import transaction

from django_q import signals
from django_q.clock import in_project_time
from django_q.django_tasks.api import (
    AnyResult,
    AnyTask,
    BaseTaskBackend,
    InvalidTask,
    Task,
    TaskResultDoesNotExist,
    arguments_as_json,
    task_backends,
    task_enqueued,
)
from django_q.django_tasks.results import new_result, result_of
from django_q.exceptions import OptionError, UnknownFunction
from django_q.functions import locate
from django_q.records.cancelling import records
from django_q.settings import current_settings
from django_q.settings.current import project_cluster
from django_q.tasks.routing import Route
from django_q.wire.building import build_package
from django_q.wire.options import validated

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping, Sequence

    from django_q.models import Record
    from django_q.settings import ClusterSettings

OWN_QUEUE: Final = "default"
"""Queue of `django.tasks` that is the queue of the cluster itself. Any other one is the cluster of that name."""

KNOWN_OPTIONS: Final = ("cluster", "on_commit")
"""Keys of `OPTIONS`."""


@dataclass(frozen=True, slots=True, kw_only=True)
class DjangoQTask(AnyTask):
    """Task of `django.tasks` with options of Django Q. None leaves an option to the settings."""

    hook: str | Callable[..., Any] | None = None
    """Function that is called with the finished `django_q.models.Task`."""
    group: object = None
    """Label that the task shares with others."""
    save: bool | None = None
    """True to save a success as a `django_q.models.Task`, False not to."""
    cached: float | None = None
    """True to keep that in the cache, or the number of seconds."""
    timeout: float | None = None
    """Seconds that an attempt may run."""
    ack_failure: bool | None = None
    """True for no retry after a failure, False for retries."""

    @property
    def options(self) -> dict[str, Any]:
        """The options of Django Q that are set."""
        return {name: value for name in OPTION_NAMES if (value := getattr(self, name)) is not None}


OPTION_NAMES: Final = tuple(
    field.name for field in fields(DjangoQTask) if field.name not in {own.name for own in fields(Task)}
)


class DjangoQBackend(BaseTaskBackend):
    """Sends tasks of `django.tasks` to a cluster of Django Q.

    They are tracked tasks: their results are read from `Record`. They share clusters, queues, retries and the admin
    with all other tasks.

    Args:
        alias: alias of the back end in `TASKS`.
        params: its dictionary. `OPTIONS` may have `cluster` (name of the cluster that executes tasks of the queue
            `default`; by default the project's own) and `on_commit` (True to send tasks when the current transaction
            commits; False by default).
    """

    task_class = DjangoQTask
    supports_defer = True
    supports_async_task = True
    supports_get_result = True
    supports_priority = True

    def __init__(self, alias: str, params: Mapping[str, Any]) -> None:
        super().__init__(alias, dict(params))
        self.cluster: str | None = self.options.get("cluster")
        self.on_commit = bool(self.options.get("on_commit"))

    def validate_task(self, task: AnyTask) -> None:
        """Check that this back end can execute a task.

        Raises:
            InvalidTask: it cannot, or an option of Django Q is invalid.
        """
        super().validate_task(task)
        options = task.options if isinstance(task, DjangoQTask) else {}
        try:
            validated({**options, "cluster": task.queue_name, "eta": task.run_after})
        except OptionError as error:
            raise InvalidTask(str(error)) from error

    def enqueue(self, task: AnyTask, args: Sequence[Any], kwargs: Mapping[str, Any]) -> AnyResult:
        """Send a task, and return its result, which is not finished.

        Raises:
            InvalidTask: the back end cannot execute the task.
            TypeError: an argument has no form in JSON.
            BrokerUnavailable: the task was not queued.
        """
        self.validate_task(task)
        args, kwargs = arguments_as_json(args, kwargs)
        settings = current_settings()
        options = validated(self._options(task, settings))
        route = Route.take(options, settings)
        package = build_package(task.module_path, tuple(args), kwargs, options, settings)
        package["backend"] = self.alias
        sent_at = in_project_time(package["started"])
        route.send([package])
        result = new_result(task, package["id"], self.alias, sent_at, args, kwargs)
        announce = partial(signals.emit, task_enqueued, sender=type(self), task_result=result)
        if route.on_commit is None:
            announce()
        else:
            transaction.on_commit(announce, using=route.on_commit)
        return self.get_result(result.id) if route.sync and route.on_commit is None else result

    def _options(self, task: AnyTask, settings: ClusterSettings) -> dict[str, Any]:
        options: dict[str, Any] = task.options if isinstance(task, DjangoQTask) else {}
        options |= {"track": True, "on_commit": self.on_commit}
        if task.priority:
            options["priority"] = int(task.priority)
        if task.run_after is not None:
            options["eta"] = task.run_after
        if (cluster := self._cluster_of(task.queue_name, settings)) != settings.list_key:
            options["cluster"] = cluster
        return options

    def get_result(self, result_id: str) -> AnyResult:
        """Return the result of a task, in any state and from any process.

        Raises:
            TaskResultDoesNotExist: this back end has sent no such task, its record was deleted (`keep_records`), or its
                function does not exist any more.
        """
        record = records().filter(pk=str(result_id), backend=self.alias).first()
        if record is None:
            raise TaskResultDoesNotExist(result_id)
        return result_of(record, self._task_of(record))

    def _task_of(self, record: Record) -> AnyTask:
        """Return the task of a record, with the values with which it was sent."""
        try:
            found = locate(record.func)
        except UnknownFunction as error:
            raise TaskResultDoesNotExist(f"{record.pk}: {error}") from error
        if not isinstance(found, Task):
            raise TaskResultDoesNotExist(f"{record.pk}: {record.func} is no task any more")
        queue = self._queue_of(record, found)
        return found.using(priority=record.priority, queue_name=queue, run_after=record.run_after, backend=self.alias)

    def _cluster_of(self, queue: str, settings: ClusterSettings) -> str:
        """Return the name of the cluster that executes the tasks of a queue."""
        return queue if queue != OWN_QUEUE else self.cluster or project_cluster(settings)

    def _queue_of(self, record: Record, task: AnyTask) -> str:
        """Return the queue to which a task was sent, or if `QUEUES` lacks it now, another valid one."""
        settings = current_settings()
        valid = [name for name in (task.queue_name, OWN_QUEUE, record.queue) if not self.queues or name in self.queues]
        valid += sorted(self.queues)
        return next((name for name in valid if self._cluster_of(name, settings) == record.queue), valid[0])

    def check(self, **kwargs: Any) -> list[checks.CheckMessage]:
        """Return the mistakes in `OPTIONS`."""
        messages: list[checks.CheckMessage] = []
        place = f"TASKS[{self.alias!r}]['OPTIONS']"
        if unknown := sorted(map(str, set(self.options) - {*KNOWN_OPTIONS})):
            messages.append(
                checks.Error(
                    f"{place} has unknown keys: {', '.join(unknown)}.",
                    hint=f"Known keys are {', '.join(KNOWN_OPTIONS)}.",
                    id="django_q.E011",
                )
            )
        if not isinstance(self.options.get("on_commit", False), bool):
            messages.append(checks.Error(f"{place}['on_commit'] must be True or False.", id="django_q.E012"))
        for name in (self.cluster, *sorted(map(str, self.queues))):
            try:
                validated({"cluster": name})
            except OptionError as error:
                hint = "Use the name of a cluster."
                messages.append(checks.Error(f"TASKS[{self.alias!r}]: {error}", hint=hint, id="django_q.E013"))
        return messages


def task(function: Callable[..., Any] | None = None, *, backend: str = "default", **options: Any) -> Any:
    """Decorate a function as a task of `django.tasks`, with options of Django Q.

    On Django 6.1 and later, `django.tasks.task` accepts the options, too.

    Args:
        function: the function.
        backend: alias of a `DjangoQBackend` in `TASKS`.
        **options: `priority`, `queue_name` and `takes_context` of `django.tasks`, and the fields of `DjangoQTask`.

    Raises:
        InvalidTask: the back end cannot execute such a task.
        TypeError: an option does not exist.
    """

    def decorate(func: Callable[..., Any]) -> AnyTask:
        given: dict[str, Any] = {
            "priority": 0,
            "queue_name": OWN_QUEUE,
            "takes_context": False,
            "run_after": None,
            **options,
        }
        return task_backends[backend].task_class(func=func, backend=backend, **given)

    return decorate if function is None else decorate(function)
