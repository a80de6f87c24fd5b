"""Adds priorities."""

from __future__ import annotations

from django.db import migrations, models


class Migration(migrations.Migration):
    """Migration."""

    dependencies = [("django_q_orm", "0003_times_in_utc")]
    operations = [
        migrations.AddField(
            model_name="ormq",
            name="rank",
            field=models.SmallIntegerField(db_default=0, editable=False, verbose_name="rank"),
        ),
        migrations.AddIndex(
            model_name="ormq", index=models.Index(fields=["key", "rank", "lock"], name="django_q_ormq_key_rank_lock")
        ),
    ]
