"""What sites call: send tasks, and ask for their results."""

from django_q.models import Schedule, Task
from django_q.tasks.chains import async_chain
from django_q.tasks.iterables import async_iter
from django_q.tasks.objects import AsyncTask, Chain, Iter
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
from django_q.tasks.scheduling import schedule, scheduled
from django_q.tasks.sending import aasync_task, async_bulk, async_task

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
