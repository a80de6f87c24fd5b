"""Adds the time zone of a schedule's dates."""

from __future__ import annotations

from django.db import migrations, models


class Migration(migrations.Migration):
    """Adds the column `zone`."""

    dependencies = [("django_q", "0022_batch")]
    operations = [
        migrations.AddField(
            model_name="schedule",
            name="zone",
            field=models.CharField(default=None, editable=False, max_length=64, null=True),
        ),
    ]
