"""Tables of both public editions after 0014."""

from __future__ import annotations

from typing import TYPE_CHECKING

import django.utils.timezone
from django.db import models
from django.db.migrations.operations import CreateModel
from picklefield.fields import PickledObjectField

import django_q.models
from django_q.models.adoption import AdoptModel

if TYPE_CHECKING:
    from django.db.migrations.operations.base import Operation


def tables() -> list[Operation]:
    """Return the operations that create or adopt the tables. django_q_orm has the queue's table."""
    return [
        AdoptModel(
            name="Task",
            fields=[
                (
                    "id",
                    models.CharField(
                        editable=False, max_length=32, primary_key=True, serialize=False, verbose_name="task id"
                    ),
                ),
                ("name", models.CharField(editable=False, max_length=100, verbose_name="name")),
                ("func", models.CharField(max_length=256, verbose_name="function")),
                ("hook", models.CharField(max_length=256, null=True, verbose_name="hook")),
                ("args", pickled("arguments")),
                ("kwargs", pickled("keyword arguments")),
                ("result", pickled("result")),
                ("group", models.CharField(editable=False, max_length=100, null=True, verbose_name="group")),
                (
                    "started",
                    models.DateTimeField(editable=False, help_text="When the task was sent.", verbose_name="started"),
                ),
                (
                    "stopped",
                    models.DateTimeField(
                        editable=False, help_text="When a worker finished it.", verbose_name="stopped"
                    ),
                ),
                ("success", models.BooleanField(default=True, editable=False, verbose_name="success")),
                ("attempt_count", models.IntegerField(default=0, verbose_name="attempts")),
            ],
            options={"verbose_name": "Task", "verbose_name_plural": "Tasks", "ordering": ("-stopped",)},
        ),
        CreateModel(
            name="Success",
            fields=[],
            options={
                "verbose_name": "Successful task",
                "verbose_name_plural": "Successful tasks",
                "ordering": ("-stopped",),
                "proxy": True,
            },
            bases=("django_q.task",),
        ),
        CreateModel(
            name="Failure",
            fields=[],
            options={
                "verbose_name": "Failed task",
                "verbose_name_plural": "Failed tasks",
                "ordering": ("-stopped",),
                "proxy": True,
            },
            bases=("django_q.task",),
        ),
        AdoptModel(
            name="Schedule",
            fields=[
                ("id", models.AutoField(auto_created=True, primary_key=True, serialize=False, verbose_name="ID")),
                ("name", models.CharField(blank=True, max_length=100, null=True, verbose_name="name")),
                (
                    "func",
                    models.CharField(max_length=256, help_text="e.g. module.tasks.function", verbose_name="function"),
                ),
                (
                    "hook",
                    models.CharField(
                        blank=True,
                        help_text="e.g. module.tasks.result_function",
                        max_length=256,
                        null=True,
                        verbose_name="hook",
                    ),
                ),
                (
                    "args",
                    models.TextField(blank=True, help_text="e.g. 1, 2, 'John'", null=True, verbose_name="arguments"),
                ),
                (
                    "kwargs",
                    models.TextField(
                        blank=True,
                        help_text="e.g. x=1, y=2, name='John'",
                        null=True,
                        verbose_name="keyword arguments",
                    ),
                ),
                ("schedule_type", models.CharField(default="O", max_length=1, verbose_name="schedule type")),
                (
                    "minutes",
                    models.PositiveSmallIntegerField(
                        blank=True,
                        help_text="Number of minutes for the Minutes type",
                        null=True,
                        verbose_name="minutes",
                    ),
                ),
                (
                    "repeats",
                    models.IntegerField(
                        default=-1, help_text="n = n times, 0 = paused, -1 = forever", verbose_name="repeats"
                    ),
                ),
                (
                    "next_run",
                    models.DateTimeField(default=django.utils.timezone.now, null=True, verbose_name="next run"),
                ),
                (
                    "cron",
                    models.CharField(
                        blank=True,
                        help_text="Cron expression for the Cron type",
                        max_length=100,
                        null=True,
                        validators=[django_q.models.validate_cron],
                        verbose_name="cron",
                    ),
                ),
                (
                    "task",
                    models.CharField(editable=False, max_length=100, null=True, verbose_name="last task"),
                ),
                (
                    "cluster",
                    models.CharField(
                        blank=True,
                        default=None,
                        help_text="Name of the cluster that runs it; empty for the default one",
                        max_length=100,
                        null=True,
                        verbose_name="cluster",
                    ),
                ),
            ],
            options={
                "verbose_name": "Scheduled task",
                "verbose_name_plural": "Scheduled tasks",
                "ordering": ("next_run",),
            },
        ),
    ]


def pickled(verbose_name: str) -> PickledObjectField:
    """Return a field for pickled values of any class."""
    return PickledObjectField(editable=False, null=True, protocol=-1, verbose_name=verbose_name)
