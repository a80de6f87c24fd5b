"""What sites call: send tasks, and ask for their results."""

from django_q.models import Schedule, Task
from django_q.tasks.reading import fetch, result
from django_q.tasks.sending import async_task

__all__ = ["Schedule", "Task", "async_task", "fetch", "result"]
