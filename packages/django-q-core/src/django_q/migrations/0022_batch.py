"""Adds the tables of batches, which count the members of iters."""

from __future__ import annotations

import django.utils.timezone
from django.db import migrations, models


class Migration(migrations.Migration):
    """Creates the tables of batches."""

    dependencies = [("django_q", "0021_schedule_trust")]
    operations = [
        migrations.CreateModel(
            name="Batch",
            fields=[
                ("id", models.CharField(editable=False, max_length=32, primary_key=True, serialize=False)),
                ("total", models.IntegerField()),
                ("done", models.IntegerField(default=0)),
                ("failed", models.IntegerField(default=0)),
                ("callback", models.CharField(max_length=256, null=True)),
                ("name", models.CharField(max_length=100, null=True)),
                ("group", models.CharField(max_length=100, null=True)),
                ("func", models.CharField(max_length=256)),
                ("kwargs", models.TextField(null=True)),
                ("keep", models.BooleanField(null=True)),
                ("cached", models.IntegerField(null=True)),
                ("cluster", models.CharField(max_length=100, null=True)),
                ("queue", models.CharField(max_length=256, null=True)),
                ("started", models.DateTimeField()),
                ("created", models.DateTimeField(default=django.utils.timezone.now)),
                ("updated", models.DateTimeField(default=django.utils.timezone.now)),
                ("completed", models.DateTimeField(null=True)),
                ("delivered", models.DateTimeField(null=True)),
                ("due", models.DateTimeField()),
            ],
            options={
                "verbose_name": "Batch",
                "verbose_name_plural": "Batches",
                "indexes": [models.Index(fields=["due"], name="django_q_batch_due")],
            },
        ),
        migrations.CreateModel(
            name="BatchMember",
            fields=[
                ("id", models.BigAutoField(primary_key=True, serialize=False)),
                ("task_id", models.CharField(max_length=32)),
                ("success", models.BooleanField()),
                ("started", models.DateTimeField()),
                ("args", models.TextField(null=True)),
                ("result", models.TextField(null=True)),
                (
                    "batch",
                    models.ForeignKey(
                        db_index=False,
                        on_delete=models.CASCADE,
                        related_name="members",
                        to="django_q.batch",
                    ),
                ),
            ],
            options={
                "verbose_name": "Batch member",
                "verbose_name_plural": "Batch members",
                "db_table": "django_q_batch_member",
                "constraints": [
                    models.UniqueConstraint(fields=("batch", "task_id"), name="django_q_batch_member_once")
                ],
            },
        ),
    ]
