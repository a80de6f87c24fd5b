"""Adds the name of the cluster that executed a task."""

from __future__ import annotations

from django.db import migrations, models


class Migration(migrations.Migration):
    """Adds the column `cluster`."""

    dependencies = [("django_q", "0016_schedule_intended_date_kwarg")]
    operations = [
        migrations.AddField(
            model_name="task",
            name="cluster",
            field=models.CharField(blank=True, default=None, max_length=100, null=True, verbose_name="cluster"),
        ),
    ]
