"""Tasks of `django.tasks`, and functions that have no decorator."""

from __future__ import annotations

from django_q.backend import task

CALLS: list[object] = []


@task
def add(a: int, b: int = 0) -> int:
    CALLS.append((a, b))
    return a + b


@task(takes_context=True)
def attempt_of(context) -> list[object]:
    return [context.attempt, context.task_result.id, context.task_result.status, len(context.task_result.errors)]


@task
def fail(message: str) -> None:
    raise ValueError(message)


@task
def echo(*values: object) -> object:
    return values


@task
async def double(number: int) -> int:
    return 2 * number


@task
async def fail_async() -> None:
    raise KeyError("async")


@task
def returns(name: str) -> object:
    return {"tuple": (1, 2), "set": {1}, "object": object(), "none": None}[name]


@task(group="reports", timeout=30, hook="hooks.told", priority=5, queue_name="mail")
def report() -> str:
    return "report"


def plain() -> None:
    """Return without a decorator."""
