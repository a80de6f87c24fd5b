"""Tasks of the conformance suite of back ends of `django.tasks`. Import it after `TASKS` is configured."""

# ruff: noqa: D103 - the tasks are documented by their names

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from django_q.django_tasks.api import task

if TYPE_CHECKING:
    from django_q.django_tasks.api import AnyContext


class UnpicklableError(Exception):
    """An exception that cannot be pickled, and has a required argument."""

    def __init__(self, first: object, second: object) -> None:
        super().__init__("two arguments")
        self.function = lambda: (first, second)


@task
def echo(*args: Any, **kwargs: Any) -> list[Any]:
    return [list(args), kwargs]


@task
def nothing() -> None:
    return None


@task
def pair() -> tuple[int, int]:
    return 1, 2


@task
def no_json() -> object:
    return object()


@task
def fail(message: str) -> None:
    raise ValueError(message)


@task
def fail_unpicklably() -> None:
    raise UnpicklableError(1, 2)


@task
def leave() -> None:
    raise SystemExit(3)


@task
async def echo_async(value: Any) -> Any:
    return value


@task
async def fail_async(message: str) -> None:
    raise ValueError(message)


@task(takes_context=True)
def describe_context(context: AnyContext, *args: Any) -> list[Any]:
    result = context.task_result
    return [context.attempt, result.id, str(result.status), len(result.worker_ids), list(args)]


@task(takes_context=True)
def fail_with_attempt(context: AnyContext) -> None:
    raise ValueError(f"attempt {context.attempt} after {len(context.task_result.errors)} errors")


def plain() -> None:
    return None


def without_context(value: Any) -> Any:
    return value
