"""Creates the table of queues, or adopts that of a public edition with its waiting packages."""

from __future__ import annotations

from django.db import migrations, models
from django_q.models.adoption import AdoptModel


class Migration(migrations.Migration):
    """Migration."""

    initial = True
    dependencies = []
    operations = [
        AdoptModel(
            name="OrmQ",
            fields=[
                ("id", models.AutoField(auto_created=True, primary_key=True, serialize=False, verbose_name="ID")),
                ("key", models.CharField(max_length=100, verbose_name="queue")),
                ("payload", models.TextField(help_text="Signed: a changed one is not run.", verbose_name="package")),
                (
                    "lock",
                    models.DateTimeField(
                        help_text="Not offered to any cluster before.", null=True, verbose_name="locked until"
                    ),
                ),
                ("lease", models.CharField(editable=False, max_length=64, null=True, verbose_name="lease")),
            ],
            options={
                "verbose_name": "Queued task",
                "verbose_name_plural": "Queued tasks",
                "db_table": "django_q_ormq",
            },
        ),
        migrations.AddIndex(
            model_name="ormq", index=models.Index(fields=["key", "lock"], name="django_q_ormq_key_lock")
        ),
    ]
