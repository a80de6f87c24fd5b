"""The database back end of Django's tasks (django-tasks-db)."""

from __future__ import annotations

import subprocess
import sys
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from collections.abc import Callable

WORKER = [sys.executable, "-m", "django", "db_worker", "--interval", "0.1"]


def setup() -> None:
    """Migrate."""
    import django
    from django.core.management import call_command

    django.setup()
    call_command("migrate", verbosity=0)


def producer() -> Callable[..., object]:
    """The task's own."""
    import django

    django.setup()
    from tests.bench.peers.django_task import mark

    return mark.enqueue


def worker(workers: int) -> list[str]:
    """As many of its processes; it has nothing that starts several, so this module does."""
    return WORKER if workers == 1 else [sys.executable, "-m", __name__, str(workers)]


if __name__ == "__main__":
    processes = [subprocess.Popen(WORKER) for _ in range(int(sys.argv[1]))]
    for process in processes:
        process.wait()
