"""Creates the table of statistics, and widens the ids of packages to 64 bits."""

from __future__ import annotations

from django.db import migrations, models


class Migration(migrations.Migration):
    """Migration."""

    dependencies = [("django_q_orm", "0001_initial")]
    operations = [
        migrations.AlterField(
            model_name="ormq",
            name="id",
            field=models.BigAutoField(auto_created=True, primary_key=True, serialize=False, verbose_name="ID"),
        ),
        migrations.CreateModel(
            name="OrmStat",
            fields=[
                ("key", models.CharField(max_length=255, primary_key=True, serialize=False, verbose_name="cluster")),
                ("value", models.TextField(verbose_name="statistics")),
                ("expires", models.DateTimeField(verbose_name="expires")),
            ],
            options={
                "verbose_name": "Statistics of a cluster",
                "verbose_name_plural": "Statistics of clusters",
                "db_table": "django_q_ormstat",
            },
        ),
    ]
