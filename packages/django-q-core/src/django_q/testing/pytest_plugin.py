"""Fixtures for pytest, which finds them by an entry point."""

from __future__ import annotations

from typing import TYPE_CHECKING

import pytest

if TYPE_CHECKING:
    from collections.abc import Iterator

    from django_q.testing.captured import CapturedTasks
    from django_q.testing.live import LiveCluster


@pytest.fixture
def django_q_tasks(db: None) -> Iterator[CapturedTasks]:
    """Capture the tasks of a test: see `django_q.testing.captured_tasks`."""
    from django_q.testing.captured import captured_tasks

    with captured_tasks() as tasks:
        yield tasks


@pytest.fixture
def django_q_immediate(db: None) -> Iterator[None]:
    """Execute tasks in the call that sends them, and raise their exceptions: see `django_q.testing.immediate`."""
    from django_q.testing.captured import immediate

    with immediate():
        yield


@pytest.fixture
def live_cluster(transactional_db: None) -> Iterator[LiveCluster]:
    """Run a cluster beside a test: see `django_q.testing.live.live`."""
    from django_q.testing.live import live

    with live() as cluster:
        yield cluster
