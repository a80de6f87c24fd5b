"""Public API: send tasks, create schedules, read results."""

from django_q.models import Schedule, Task
from django_q.schedules.creating import schedule
from django_q.schedules.declarations import scheduled
from django_q.tasks.chains import Chain, async_chain
from django_q.tasks.iters import Iter, async_iter
from django_q.tasks.reading import (
    afetch,
    aresult,
    count_group,
    count_group_cached,
    delete_cached,
    delete_group,
    delete_group_cached,
    fetch,
    fetch_cached,
    fetch_group,
    fetch_group_cached,
    queue_size,
    result,
    result_cached,
    result_group,
    result_group_cached,
)
from django_q.tasks.sending import AsyncTask, aasync_task, async_bulk, async_task

__all__ = [
    "AsyncTask",
    "Chain",
    "Iter",
    "Schedule",
    "Task",
    "aasync_task",
    "afetch",
    "aresult",
    "async_bulk",
    "async_chain",
    "async_iter",
    "async_task",
    "count_group",
    "count_group_cached",
    "delete_cached",
    "delete_group",
    "delete_group_cached",
    "fetch",
    "fetch_cached",
    "fetch_group",
    "fetch_group_cached",
    "queue_size",
    "result",
    "result_cached",
    "result_group",
    "result_group_cached",
    "schedule",
    "scheduled",
]
