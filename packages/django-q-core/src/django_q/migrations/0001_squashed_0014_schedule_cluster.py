"""Replaces 0001 to 0014 of the public editions, which their databases have applied, by one step for new databases."""

from __future__ import annotations

from django.db import migrations

from django_q.migrations._tables import tables

REPLACED = (
    "0001_initial",
    "0002_auto_20150630_1624",
    "0003_auto_20150708_1326",
    "0004_auto_20150710_1043",
    "0005_auto_20150718_1506",
    "0006_auto_20150805_1817",
    "0007_ormq",
    "0008_auto_20160224_1026",
    "0009_auto_20171009_0915",
    "0010_auto_20200610_0856",
    "0011_auto_20200628_1055",
    "0012_auto_20200702_1608",
    "0013_task_attempt_count",
    "0014_schedule_cluster",
)


class Migration(migrations.Migration):
    """Creates or adopts the tables."""

    initial = True
    replaces = [("django_q", name) for name in REPLACED]
    dependencies = []
    operations = tables()
