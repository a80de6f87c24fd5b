"""Adds the name of the keyword argument with the scheduled time of a task."""

from __future__ import annotations

from django.db import migrations, models

import django_q.models


class Migration(migrations.Migration):
    """Adds the column `intended_date_kwarg`."""

    dependencies = [("django_q", "0015_alter_schedule_schedule_type")]
    operations = [
        migrations.AddField(
            model_name="schedule",
            name="intended_date_kwarg",
            field=models.CharField(
                blank=True,
                help_text="Name of a keyword argument that tells the task for which moment it was scheduled",
                max_length=100,
                null=True,
                validators=[django_q.models.validate_kwarg],
                verbose_name="intended date keyword",
            ),
        ),
    ]
