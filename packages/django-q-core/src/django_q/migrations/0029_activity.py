"""Adds the table of the clusters' activity."""

from __future__ import annotations

from django.db import migrations, models


class Migration(migrations.Migration):
    """Creates the table of activity."""

    dependencies = [("django_q", "0028_batch_trace")]
    operations = [
        migrations.CreateModel(
            name="Activity",
            fields=[
                ("id", models.BigAutoField(primary_key=True, serialize=False)),
                ("minute", models.IntegerField()),
                ("cluster_id", models.CharField(max_length=32)),
                ("successes", models.IntegerField()),
                ("failures", models.IntegerField()),
                ("waits", models.IntegerField()),
                ("wait_seconds", models.FloatField()),
            ],
            options={
                "verbose_name": "Activity",
                "verbose_name_plural": "Activities",
                "constraints": [
                    models.UniqueConstraint(fields=("minute", "cluster_id"), name="django_q_activity_once")
                ],
            },
        ),
    ]
