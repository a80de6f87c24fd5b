"""Schedules know the time zone of their dates."""

from __future__ import annotations

from django.db import migrations, models


class Migration(migrations.Migration):
    """The step."""

    dependencies = [("django_q", "0022_batch")]
    operations = [
        migrations.AddField(
            model_name="schedule",
            name="zone",
            field=models.CharField(default=None, editable=False, max_length=64, null=True),
        ),
    ]
