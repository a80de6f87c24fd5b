"""Adds the permissions of the admin's actions, and the index of its list of records."""

from __future__ import annotations

from django.db import migrations, models


class Migration(migrations.Migration):
    """Adds the permissions to cancel tasks and to run schedules, and an index of the time of sending."""

    dependencies = [("django_q", "0025_command")]
    operations = [
        migrations.AlterModelOptions(
            name="record",
            options={
                "ordering": ("-enqueued_at",),
                "permissions": (("cancel_record", "Can cancel Record"),),
                "verbose_name": "Record",
                "verbose_name_plural": "Records",
            },
        ),
        migrations.AlterModelOptions(
            name="schedule",
            options={
                "ordering": ("next_run",),
                "permissions": (("run_schedule", "Can run Scheduled task"),),
                "verbose_name": "Scheduled task",
                "verbose_name_plural": "Scheduled tasks",
            },
        ),
        migrations.AddIndex(
            model_name="record",
            index=models.Index(fields=["enqueued_at"], name="django_q_record_enqueued"),
        ),
    ]
