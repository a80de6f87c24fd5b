"""The site of a reader of the how-to pages: tasks in each state, a schedule, a dead letter, and a cluster."""

from __future__ import annotations

import os
import sys
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING

from django_q.testing import eventually

from tests.docs.terminal import Terminal
from tests.services.environment import project_environment

if TYPE_CHECKING:
    from collections.abc import Iterator

SETTINGS = """
INSTALLED_APPS += ["django_q", "django_q_orm"]
DATABASES["default"]["OPTIONS"] = {
    "transaction_mode": "IMMEDIATE",
    "init_command": "PRAGMA journal_mode=WAL; PRAGMA synchronous=NORMAL",
}
Q_CLUSTER = {"name": "mysite", "orm": "default", "workers": 2, "track": True}
"""

SEND = """
from django_q.brokers import get_broker
from django_q.models import Schedule
from django_q.tasks import async_task, schedule

schedule("math.hypot", 3, 4, schedule_type=Schedule.CRON, cron="0 22 * * 1-5", name="weekday evenings")
print("id of the finished task:", async_task("math.hypot", 3, 4))
print("id of the waiting task:", async_task.options(delay=3600)("math.hypot", 3, 4, group="reports"))
for number in range(2):
    get_broker().enqueue(f"unreadable package {number}")

"""

FINISHED, WAITING, DEAD = "0198f0e2a1b37c5d8e9f001122334455", "0198f0e2a1b37c5d8e9f001122334466", "a361bbfca1eb"
"""Ids that the pages print."""


@contextmanager
def site(folder: Path) -> Iterator[tuple[Terminal, dict[str, str]]]:
    """Make a site with a running cluster, and yield its shell, and its ids in place of those that the pages print."""
    path = os.pathsep.join([str(Path(sys.executable).parent), os.environ["PATH"]])
    terminal = Terminal(folder, project_environment() | {"PATH": path})
    terminal.run("django-admin startproject mysite && cd mysite")
    with (terminal.folder / "mysite" / "settings.py").open("a") as settings:
        settings.write(SETTINGS)
    terminal.run("python manage.py migrate")
    sent = terminal.run("python manage.py shell", text=SEND)
    finished, waiting = [line.split()[-1] for line in sent.splitlines() if line.startswith("id of")]
    with terminal.running("python manage.py qcluster", ready=" running. [mysite]") as log:
        eventually(lambda: "Processed 'math.hypot'" in log() and log().count("dead") >= 2, within=30)
        dead = terminal.run("python manage.py qdead --list").split()[0].strip("[]")
        yield terminal, {FINISHED: finished, WAITING: waiting, DEAD: dead}
