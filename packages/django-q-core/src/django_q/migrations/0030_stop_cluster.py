"""Adds the command that stops a cluster, and its permission."""

from __future__ import annotations

from django.db import migrations, models


class Migration(migrations.Migration):
    """Adds the kind of the command, and the permission to send it."""

    dependencies = [("django_q", "0029_activity")]
    operations = [
        migrations.AlterField(
            model_name="command",
            name="kind",
            field=models.CharField(
                choices=[("task", "cancel a task"), ("group", "cancel a group"), ("cluster", "stop a cluster")],
                max_length=10,
            ),
        ),
        migrations.AlterModelOptions(
            name="cluster",
            options={
                "default_permissions": ("view",),
                "permissions": (("stop_cluster", "Can stop clusters"),),
                "verbose_name": "Cluster",
                "verbose_name_plural": "Clusters",
            },
        ),
    ]
