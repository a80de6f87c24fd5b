"""The body as a task of Django's: it can only be made when Django is ready."""

from __future__ import annotations

from tests.bench import body

try:
    from django.tasks import task
except ImportError:  # Django before 6.0
    from django_tasks import task


@task
def mark(index: int, sent: float) -> int:
    """The body."""
    return body.mark(index, sent)
