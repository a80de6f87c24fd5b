"""Allows two characters as schedule type, for the biweekly and bimonthly types."""

from __future__ import annotations

from django.db import migrations, models


class Migration(migrations.Migration):
    """Alters the column `schedule_type`."""

    dependencies = [("django_q", "0014_schedule_cluster")]
    operations = [
        migrations.AlterField(
            model_name="schedule",
            name="schedule_type",
            field=models.CharField(
                choices=[
                    ("O", "Once"),
                    ("I", "Minutes"),
                    ("H", "Hourly"),
                    ("D", "Daily"),
                    ("W", "Weekly"),
                    ("BW", "Biweekly"),
                    ("M", "Monthly"),
                    ("BM", "Bimonthly"),
                    ("Q", "Quarterly"),
                    ("Y", "Yearly"),
                    ("C", "Cron"),
                ],
                default="O",
                max_length=2,
                verbose_name="schedule type",
            ),
        ),
    ]
