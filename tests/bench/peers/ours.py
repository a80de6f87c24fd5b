"""Django Q, with any broker."""

from __future__ import annotations

import sys
from functools import partial
from typing import TYPE_CHECKING

from tests.bench import body
from tests.bench.trial import Place

if TYPE_CHECKING:
    from collections.abc import Callable

TASK = f"{body.__name__}.{body.mark.__name__}"


def setup() -> None:
    """Migrate."""
    import django
    from django.core.management import call_command

    django.setup()
    call_command("migrate", verbosity=0)


def producer() -> Callable[..., object]:
    """`async_task`, with a broker of the caller's or with none."""
    import django

    django.setup()
    from django_q.brokers import get_broker
    from django_q.tasks import async_task

    if Place.here().trial.sending == "broker":
        return partial(async_task, TASK, broker=get_broker())
    return partial(async_task, TASK)


def worker(workers: int) -> list[str]:
    """The cluster; how many workers it has, the settings say."""
    return [sys.executable, "-m", "django", "qcluster"]
