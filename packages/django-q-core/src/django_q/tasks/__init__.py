"""Public API: send tasks, create schedules, read results."""

from django_q.models import Schedule, Task
from django_q.schedules.creating import schedule
from django_q.schedules.declarations import scheduled
from django_q.tasks.chains import Chain, async_chain
from django_q.tasks.handle import TaskHandle
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
from django_q.tasks.tracking import (
    acancel,
    acancel_group,
    arecord,
    arecords,
    astatus,
    cancel,
    cancel_group,
    record,
    records,
    status,
)

__all__ = [
    "AsyncTask",
    "Chain",
    "Iter",
    "Schedule",
    "Task",
    "TaskHandle",
    "aasync_task",
    "acancel",
    "acancel_group",
    "afetch",
    "arecord",
    "arecords",
    "aresult",
    "astatus",
    "async_bulk",
    "async_chain",
    "async_iter",
    "async_task",
    "cancel",
    "cancel_group",
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
    "record",
    "records",
    "result",
    "result_cached",
    "result_group",
    "result_group_cached",
    "schedule",
    "scheduled",
    "status",
]
