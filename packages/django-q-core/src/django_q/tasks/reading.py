"""Reads results and finished tasks, from the database or the cache."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, TypeVar

from asgiref.sync import sync_to_async

from django_q.brokers import shared_broker
from django_q.models import Task
from django_q.results.cache import CacheResults
from django_q.results.waiting import MISSING, Missing, await_for, wait_for
from django_q.settings import current_settings
from django_q.wire.option_values import lookups, required_count, required_label

if TYPE_CHECKING:
    from collections.abc import Callable, Sequence

    from django.db.models import QuerySet

    from django_q.brokers import Broker

T = TypeVar("T")

# one task


def result(task_id: object, wait: float = 0, cached: bool | float | None = None) -> Any:
    """Return the result of a task.

    Args:
        task_id: id or name of the task, in the form in which it was passed: a name of 7 is found by 7.
        wait: milliseconds to wait; -1 means no limit, 0 reads once.
        cached: read from the cache; None means as the setting `cached` says. A result that was sent with `cached` is
            not in the database, and only found with this option.

    Returns:
        The result, or the text of the failure; None if the task is not finished.

    Raises:
        OptionError: `task_id` is None or a container, or `wait` is not a number.
        ResultsUnavailable: the cache is unavailable.

    Source: the manual, 1.4.6.
    """
    return or_none(wait_for(_result_reader(task_id, cached), wait))


def result_cached(task_id: object, wait: float = 0, broker: Broker | None = None) -> Any:
    """Return the result of a task from the cache. See `result`."""
    return or_none(wait_for(_cached_result_reader(task_id, broker), wait))


async def aresult(task_id: object, wait: float = 0, cached: bool | float | None = None) -> Any:
    """Return the result of a task like `result`, without blocking the event loop."""
    return or_none(await await_for(sync_to_async(_result_reader(task_id, cached)), wait))


def fetch(task_id: object, wait: float = 0, cached: bool | float | None = None) -> Task | None:
    """Return a finished task.

    Args:
        task_id: id or name of the task.
        wait: milliseconds to wait; -1 means no limit, 0 reads once.
        cached: read from the cache; None means as the setting `cached` says. A task from the cache is not in the
            database until its `save()` is called.

    Returns:
        The task; None if it is not finished.

    Raises:
        OptionError: `task_id` is None or a container, or `wait` is not a number.
        ResultsUnavailable: the cache is unavailable.

    Source: the manual, 1.4.6.
    """
    return or_none(wait_for(_task_reader(task_id, cached), wait))


def fetch_cached(task_id: object, wait: float = 0, broker: Broker | None = None) -> Task | None:
    """Return a finished task from the cache. See `fetch`."""
    return or_none(wait_for(_cached_task_reader(task_id, broker), wait))


async def afetch(task_id: object, wait: float = 0, cached: bool | float | None = None) -> Task | None:
    """Return a finished task like `fetch`, without blocking the event loop."""
    return or_none(await await_for(sync_to_async(_task_reader(task_id, cached)), wait))


def delete_cached(task_id: object, broker: Broker | None = None) -> bool:
    """Delete a task from the cache, by its id; return True if it existed."""
    return _cache(broker).delete(_cached_id(task_id))


# a group


def result_group(
    group_id: object,
    failures: bool = False,
    wait: float = 0,
    count: int | None = None,
    cached: bool | float | None = None,
) -> list[Any] | None:
    """Return the results of a group, in the order in which its tasks were sent.

    Args:
        group_id: label of the group, in the form in which it was passed: a group of 42 is found by 42.
        failures: include the texts of failures.
        wait: milliseconds to wait for a first result, or for *count* of them; -1 means no limit.
        count: number of finished tasks to wait for, including failed ones; without `wait`, the wait has no limit. When
            the time is over, the results so far are returned.
        cached: read from the cache; None means as the setting `cached` says.

    Returns:
        The results, or None if there are none.

    Source: the manual, 1.5.1.
    """
    if _is_cached(cached):
        return result_group_cached(group_id, failures, wait, count)
    group = Task.group_label(group_id)
    return _of_group(
        lambda: list(Task.get_result_group(group, failures).order_by("started")),
        enough=lambda number: Task.get_group_count(group) >= number,
        wait=wait,
        count=count,
    )


def result_group_cached(
    group_id: object,
    failures: bool = False,
    wait: float = 0,
    count: int | None = None,
    broker: Broker | None = None,
) -> list[Any] | None:
    """Return the results of a group from the cache. See `result_group`."""
    cache, group = _cache(broker), required_label("group_id", group_id)
    return _of_group(
        lambda: [package.get("result") for package in cache.fetch_group(group, failures=failures)],
        enough=lambda number: cache.has_members(group, number),
        wait=wait,
        count=count,
    )


def fetch_group(
    group_id: object,
    failures: bool = True,
    wait: float = 0,
    count: int | None = None,
    cached: bool | float | None = None,
) -> QuerySet[Task] | list[Task] | None:
    """Return the finished tasks of a group, in the order in which they were sent.

    Args:
        group_id: label of the group, in the form in which it was passed: a group of 42 is found by 42.
        failures: include failed tasks.
        wait: milliseconds to wait for a first task, or for *count* of them; -1 means no limit.
        count: number of finished tasks to wait for, including failed ones; without `wait`, the wait has no limit. When
            the time is over, the tasks finished so far are returned.
        cached: read from the cache; None means as the setting `cached` says.

    Returns:
        A queryset, or a list if they are from the cache; None if there are none.

    Source: the manual, 1.5.1.
    """
    if _is_cached(cached):
        return fetch_group_cached(group_id, failures, wait, count)
    group = Task.group_label(group_id)
    return _of_group(
        lambda: Task.get_task_group(group, failures).order_by("started"),
        enough=lambda number: Task.get_group_count(group) >= number,
        wait=wait,
        count=count,
    )


def fetch_group_cached(
    group_id: object,
    failures: bool = True,
    wait: float = 0,
    count: int | None = None,
    broker: Broker | None = None,
) -> list[Task] | None:
    """Return the finished tasks of a group from the cache. See `fetch_group`."""
    cache, group = _cache(broker), required_label("group_id", group_id)
    return _of_group(
        lambda: [Task.from_package(package) for package in cache.fetch_group(group, failures=failures)],
        enough=lambda number: cache.has_members(group, number),
        wait=wait,
        count=count,
    )


def count_group(group_id: object, failures: bool = False, cached: bool | float | None = None) -> int:
    """Count the finished tasks of a group, or only the failed ones if *failures* is True.

    Source: the manual, 1.5.1.
    """
    return count_group_cached(group_id, failures) if _is_cached(cached) else Task.get_group_count(group_id, failures)


def count_group_cached(group_id: object, failures: bool = False, broker: Broker | None = None) -> int:
    """Count the finished tasks of a group in the cache. See `count_group`."""
    members = _cache(broker).read_members(required_label("group_id", group_id))
    return sum(not member.success for member in members) if failures else len(members)


def delete_group(group_id: object, tasks: bool = False, cached: bool | float | None = None) -> int:
    """Remove the label from the tasks of a group.

    Args:
        group_id: label of the group, in the form in which it was passed: a group of 42 is found by 42.
        tasks: delete the tasks, too; in the cache, they are always deleted.
        cached: use the cache; None means as the setting `cached` says.

    Returns:
        The number of tasks.

    Source: the manual, 1.5.1.
    """
    if _is_cached(cached):
        return delete_group_cached(group_id)
    affected = Task.delete_group(group_id, tasks)
    return affected[0] if isinstance(affected, tuple) else affected


def delete_group_cached(group_id: object, broker: Broker | None = None) -> int:
    """Delete a group and its tasks from the cache; return the number of tasks."""
    return _cache(broker).delete_group(required_label("group_id", group_id))


# the queue


def queue_size(broker: Broker | None = None) -> int:
    """Return the number of waiting tasks, without those in flight.

    Source: the manual, 1.4.6.
    """
    return (broker or shared_broker(current_settings())).queue_size()


# implementation


def or_none(value: T | Missing) -> T | None:
    """Return a value, and None for `MISSING`."""
    return None if value is MISSING else value


def _is_cached(cached: bool | float | None) -> bool:
    return bool(current_settings().cached if cached is None else cached)


def _cache(broker: Broker | None) -> CacheResults:
    return CacheResults(current_settings(), broker.list_key if broker else None)


def _result_reader(task_id: object, cached: bool | float | None) -> Callable[[], Any]:
    if _is_cached(cached):
        return _cached_result_reader(task_id, None)

    keys = Task.stored_lookups(task_id)

    def read() -> Any:
        found = _first(Task.objects.values_list("result"), keys)
        return MISSING if found is MISSING else found[0]

    return read


def _first(tasks: QuerySet[Task, T], keys: Sequence[tuple[str, str]]) -> T | Missing:
    """Return the first task with one of these columns; of several with the same name, the one that finished last."""
    for column, value in keys:
        for found in tasks.filter(**{column: value})[:1]:
            return found
    return MISSING


def _cached_id(task_id: object) -> str:
    """Return the id of a task in the cache."""
    return lookups(task_id)[0][1]


def _cached_result_reader(task_id: object, broker: Broker | None) -> Callable[[], Any]:
    cache, key = _cache(broker), _cached_id(task_id)

    def read() -> Any:
        package = cache.fetch(key)
        return MISSING if package is MISSING else package.get("result")

    return read


def _task_reader(task_id: object, cached: bool | float | None) -> Callable[[], Task | Missing]:
    if _is_cached(cached):
        return _cached_task_reader(task_id, None)
    keys = Task.stored_lookups(task_id)
    return lambda: _first(Task.objects.all(), keys)


def _cached_task_reader(task_id: object, broker: Broker | None) -> Callable[[], Task | Missing]:
    cache, key = _cache(broker), _cached_id(task_id)

    def read() -> Task | Missing:
        package = cache.fetch(key)
        return MISSING if package is MISSING else Task.from_package(package)

    return read


def _of_group(read: Callable[[], T], *, enough: Callable[[int], bool], wait: float, count: int | None) -> T | None:
    """Read a group when it has *count* members, or else as soon as it has one."""
    if count is None:
        return or_none(wait_for(lambda: read() or MISSING, wait))
    number = required_count("count", count)
    # The default of `wait` is 0, and the manual's examples pass only a count.
    wait_for(lambda: enough(number) or MISSING, wait or -1)
    return read() or None
