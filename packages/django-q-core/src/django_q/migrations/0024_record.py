"""Adds the table of tracked tasks."""

from __future__ import annotations

from django.db import migrations, models

STATUSES = ("queued", "scheduled", "running", "retrying", "succeeded", "failed", "cancelled")


class Migration(migrations.Migration):
    """Creates the table of tracked tasks."""

    dependencies = [("django_q", "0023_schedule_zone")]
    operations = [
        migrations.CreateModel(
            name="Record",
            fields=[
                (
                    "id",
                    models.CharField(
                        editable=False, max_length=32, primary_key=True, serialize=False, verbose_name="task id"
                    ),
                ),
                ("name", models.CharField(max_length=100, verbose_name="name")),
                ("func", models.CharField(max_length=256, verbose_name="function")),
                ("group", models.CharField(max_length=100, null=True, verbose_name="group")),
                ("queue", models.CharField(max_length=100, verbose_name="queue")),
                ("backend", models.CharField(default="", max_length=100, verbose_name="back end")),
                ("priority", models.SmallIntegerField(default=0, verbose_name="priority")),
                (
                    "status",
                    models.CharField(
                        choices=[(status, status) for status in STATUSES],
                        default="queued",
                        max_length=10,
                        verbose_name="status",
                    ),
                ),
                ("enqueued_at", models.DateTimeField(verbose_name="enqueued")),
                ("run_after", models.DateTimeField(null=True, verbose_name="run after")),
                ("started_at", models.DateTimeField(null=True, verbose_name="started")),
                ("last_attempted_at", models.DateTimeField(null=True, verbose_name="last attempted")),
                ("finished_at", models.DateTimeField(null=True, verbose_name="finished")),
                ("lease_ends_at", models.DateTimeField(null=True)),
                ("cancel_requested_at", models.DateTimeField(null=True, verbose_name="cancellation requested")),
                ("attempts", models.JSONField(default=list, verbose_name="attempts")),
                ("arguments", models.TextField(null=True)),
                ("result", models.TextField(null=True)),
            ],
            options={
                "verbose_name": "Record",
                "verbose_name_plural": "Records",
                "ordering": ("-enqueued_at",),
                "indexes": [
                    models.Index(fields=["status", "finished_at"], name="django_q_record_status"),
                    models.Index(fields=["group"], name="django_q_record_group"),
                ],
            },
        ),
    ]
