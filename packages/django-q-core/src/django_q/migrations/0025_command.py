"""Adds the table of commands to clusters."""

from __future__ import annotations

import django.utils.timezone
from django.db import migrations, models


class Migration(migrations.Migration):
    """Creates the table of commands."""

    dependencies = [("django_q", "0024_record")]
    operations = [
        migrations.CreateModel(
            name="Command",
            fields=[
                ("id", models.BigAutoField(primary_key=True, serialize=False)),
                (
                    "kind",
                    models.CharField(choices=[("task", "cancel a task"), ("group", "cancel a group")], max_length=10),
                ),
                ("target", models.CharField(max_length=100)),
                ("created_at", models.DateTimeField(default=django.utils.timezone.now)),
                ("expires_at", models.DateTimeField()),
            ],
            options={
                "verbose_name": "Command",
                "verbose_name_plural": "Commands",
                "indexes": [
                    models.Index(fields=["created_at"], name="django_q_command_created"),
                    models.Index(fields=["target"], name="django_q_command_target"),
                ],
            },
        ),
    ]
