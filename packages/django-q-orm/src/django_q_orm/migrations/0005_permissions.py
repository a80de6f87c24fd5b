"""Adds the permission to requeue dead letters."""

from __future__ import annotations

from django.db import migrations


class Migration(migrations.Migration):
    """Migration."""

    dependencies = [("django_q_orm", "0004_priorities")]
    operations = [
        migrations.AlterModelOptions(
            name="ormq",
            options={
                "permissions": (("requeue_ormq", "Can requeue Queued task"),),
                "verbose_name": "Queued task",
                "verbose_name_plural": "Queued tasks",
            },
        ),
    ]
