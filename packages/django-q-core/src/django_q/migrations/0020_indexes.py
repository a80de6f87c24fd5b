"""Adds one index for each kind of query for tasks and schedules."""

from __future__ import annotations

from django.db import migrations, models


class Migration(migrations.Migration):
    """Replaces the index of django-q2."""

    dependencies = [("django_q", "0019_alter_task_options_alter_ormq_key_alter_ormq_lock_and_more")]
    operations = [
        migrations.RemoveIndex(model_name="task", name="success_index"),
        migrations.AddIndex(
            model_name="task", index=models.Index(fields=["success", "stopped"], name="django_q_task_latest")
        ),
        migrations.AddIndex(model_name="task", index=models.Index(fields=["group"], name="django_q_task_group")),
        migrations.AddIndex(model_name="task", index=models.Index(fields=["name"], name="django_q_task_name")),
        migrations.AddIndex(model_name="task", index=models.Index(fields=["func"], name="django_q_task_func")),
        migrations.AddIndex(
            model_name="schedule", index=models.Index(fields=["next_run"], name="django_q_schedule_next_run")
        ),
    ]
