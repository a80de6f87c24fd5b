"""Adds the permissions of the admin's pages of queues and clusters."""

from __future__ import annotations

from django.db import migrations


class Migration(migrations.Migration):
    """Adds proxy models without tables, for their permissions."""

    dependencies = [("django_q", "0026_permissions")]
    operations = [
        migrations.CreateModel(
            name="Cluster",
            fields=[],
            options={
                "verbose_name": "Cluster",
                "verbose_name_plural": "Clusters",
                "proxy": True,
                "default_permissions": ("view",),
                "indexes": [],
                "constraints": [],
            },
            bases=("django_q.record",),
        ),
        migrations.CreateModel(
            name="Queue",
            fields=[],
            options={
                "verbose_name": "Queue",
                "verbose_name_plural": "Queues",
                "permissions": (
                    ("requeue_dead_letter", "Can requeue dead letters"),
                    ("delete_dead_letter", "Can delete dead letters"),
                ),
                "proxy": True,
                "default_permissions": ("view",),
                "indexes": [],
                "constraints": [],
            },
            bases=("django_q.record",),
        ),
    ]
