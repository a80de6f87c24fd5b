"""Adds the index of django-q2, which 0020 removes."""

from __future__ import annotations

from django.db import migrations, models


class Migration(migrations.Migration):
    """Adds the index."""

    dependencies = [("django_q", "0017_task_cluster_alter")]
    operations = [
        migrations.AddIndex(
            model_name="task",
            index=models.Index(
                condition=models.Q(("success", True)), fields=["group", "name", "func"], name="success_index"
            ),
        ),
    ]
