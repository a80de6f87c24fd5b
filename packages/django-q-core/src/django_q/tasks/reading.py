"""Calls that ask what became of a task."""

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
    """Return what a task returned.

    Args:
        task_id: the task's id or its name, in the form in which it was given: a name of 7 is found by 7.
        wait: milliseconds to wait for it; -1 waits for ever.
        cached: look in the cache; None means as the setting `cached` says.

    Returns:
        The result; the text of the failure if the task failed; None as long as there is neither.

    Raises:
        OptionError: `task_id` is None or a container, or `wait` is no number.

    Source: the manual, 1.4.6.
    """
    return or_none(wait_for(_result_reader(task_id, cached), wait))


def result_cached(task_id: object, wait: float = 0, broker: Broker | None = None) -> Any:
    """Return what a task returned, from the cache; see `result`."""
    return or_none(wait_for(_cached_result_reader(task_id, broker), wait))


async def aresult(task_id: object, wait: float = 0, cached: bool | float | None = None) -> Any:
    """Do as `result` does, without blocking the event loop."""
    return or_none(await await_for(sync_to_async(_result_reader(task_id, cached)), wait))


def fetch(task_id: object, wait: float = 0, cached: bool | float | None = None) -> Task | None:
    """Return a finished task.

    Args:
        task_id: the task's id or its name.
        wait: milliseconds to wait for it; -1 waits for ever.
        cached: look in the cache; None means as the setting `cached` says. What is found there is in no database
            until its `save()` is called.

    Raises:
        OptionError: `task_id` is None or a container, or `wait` is no number.

    Source: the manual, 1.4.6.
    """
    return or_none(wait_for(_task_reader(task_id, cached), wait))


def fetch_cached(task_id: object, wait: float = 0, broker: Broker | None = None) -> Task | None:
    """Return a finished task from the cache; see `fetch`."""
    return or_none(wait_for(_cached_task_reader(task_id, broker), wait))


async def afetch(task_id: object, wait: float = 0, cached: bool | float | None = None) -> Task | None:
    """Do as `fetch` does, without blocking the event loop."""
    return or_none(await await_for(sync_to_async(_task_reader(task_id, cached)), wait))


def delete_cached(task_id: object, broker: Broker | None = None) -> bool:
    """Forget a task in the cache, by its id, and tell whether it was there."""
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
        group_id: the group's label, in the form in which it was given: a group of 42 is found by 42.
        failures: the texts of failures too.
        wait: milliseconds to wait for a first result, or for *count* of them; -1 waits for ever.
        count: wait until this many tasks have finished, failed ones too. Without `wait` that is for as long as it
            takes; when the time is over, what is there is returned.
        cached: look in the cache; None means as the setting `cached` says.

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
    """Return the results of a group from the cache; see `result_group`."""
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
        group_id: the group's label, in the form in which it was given: a group of 42 is found by 42.
        failures: failed tasks too.
        wait: milliseconds to wait for a first task, or for *count* of them; -1 waits for ever.
        count: wait until this many tasks have finished, failed ones too. Without `wait` that is for as long as it
            takes; when the time is over, what is there is returned.
        cached: look in the cache; None means as the setting `cached` says.

    Returns:
        A queryset, or a list if they come from the cache; None if there are none.

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
    """Return the finished tasks of a group from the cache; see `fetch_group`."""
    cache, group = _cache(broker), required_label("group_id", group_id)
    return _of_group(
        lambda: [Task.from_package(package) for package in cache.fetch_group(group, failures=failures)],
        enough=lambda number: cache.has_members(group, number),
        wait=wait,
        count=count,
    )


def count_group(group_id: object, failures: bool = False, cached: bool | float | None = None) -> int:
    """Count the finished tasks of a group; only the failed ones if *failures*.

    Source: the manual, 1.5.1.
    """
    return count_group_cached(group_id, failures) if _is_cached(cached) else Task.get_group_count(group_id, failures)


def count_group_cached(group_id: object, failures: bool = False, broker: Broker | None = None) -> int:
    """Count the finished tasks of a group in the cache; see `count_group`."""
    members = _cache(broker).read_members(required_label("group_id", group_id))
    return sum(not member.success for member in members) if failures else len(members)


def delete_group(group_id: object, tasks: bool = False, cached: bool | float | None = None) -> int:
    """Take the label off the tasks of a group.

    Args:
        group_id: the group's label, in the form in which it was given: a group of 42 is found by 42.
        tasks: delete the tasks too; in the cache that is always so.
        cached: look in the cache; None means as the setting `cached` says.

    Returns:
        How many tasks it were.

    Source: the manual, 1.5.1.
    """
    if _is_cached(cached):
        return delete_group_cached(group_id)
    affected = Task.delete_group(group_id, tasks)
    return affected[0] if isinstance(affected, tuple) else affected


def delete_group_cached(group_id: object, broker: Broker | None = None) -> int:
    """Forget a group and its tasks in the cache, and return how many they were."""
    return _cache(broker).delete_group(required_label("group_id", group_id))


# the queue


def queue_size(broker: Broker | None = None) -> int:
    """Return how many tasks wait; those that a cluster has taken are not among them.

    Source: the manual, 1.4.6.
    """
    return (broker or shared_broker(current_settings())).queue_size()


# how


def or_none(value: T | Missing) -> T | None:
    """Give None for what is missing."""
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
    """Return the first task with one of these columns; the one that finished last if several share the name."""
    for column, value in keys:
        for found in tasks.filter(**{column: value})[:1]:
            return found
    return MISSING


def _cached_id(task_id: object) -> str:
    """Return the id by which a task is found in the cache."""
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
    # `wait` is 0 where a caller leaves it out, and the manual's examples do when they give a count.
    wait_for(lambda: enough(number) or MISSING, wait or -1)
    return read() or None
