"""Removes tasks without a group from the indexes of groups: most tasks have none."""

from __future__ import annotations

from django.db import migrations

from django_q.models.indexes import ValueIndex


class Migration(migrations.Migration):
    """Replaces the indexes of groups."""

    dependencies = [("django_q", "0030_stop_cluster")]
    operations = [
        migrations.RemoveIndex(model_name="task", name="django_q_task_group"),
        migrations.AddIndex(model_name="task", index=ValueIndex(fields=["group"], name="django_q_task_group")),
        migrations.RemoveIndex(model_name="record", name="django_q_record_group"),
        migrations.AddIndex(model_name="record", index=ValueIndex(fields=["group"], name="django_q_record_group")),
    ]
