"""Adds due times in UTC, for databases and projects that keep local times."""

from __future__ import annotations

from django.db import migrations, models


class Migration(migrations.Migration):
    """Migration."""

    dependencies = [("django_q_orm", "0002_statistics_and_wide_ids")]
    operations = [
        migrations.AddField(
            model_name="ormq",
            name="due",
            field=models.BigIntegerField(db_default=0, editable=False, verbose_name="due"),
        ),
        migrations.AddField(
            model_name="ormq",
            name="own_lock",
            field=models.DateTimeField(editable=False, null=True, verbose_name="own lock"),
        ),
        migrations.AddIndex(model_name="ormq", index=models.Index(fields=["key", "due"], name="django_q_ormq_key_due")),
    ]
