from __future__ import annotations

from typing import TYPE_CHECKING

from django.db import migrations, models, router

import django_q.models.schedule

if TYPE_CHECKING:
    from django.apps.registry import Apps
    from django.db.backends.base.schema import BaseDatabaseSchemaEditor

MAX_STATEMENT_ROWS = 500
"""Maximum number of rows that one statement names."""


def hold_names(apps: Apps, schema_editor: BaseDatabaseSchemaEditor) -> None:
    """Reserve each name that occurs once. Names that occur more often are not reserved."""
    alias, model = schema_editor.connection.alias, apps.get_model("django_q", "Schedule")
    if not router.allow_migrate_model(alias, model):
        return
    schedules = model._base_manager.using(alias)
    named = schedules.exclude(name=None).exclude(name="").order_by().values("name")
    single = named.annotate(count=models.Count("pk"), only=models.Min("pk")).filter(count=1)
    ids = list(single.values_list("only", flat=True))
    for start in range(0, len(ids), MAX_STATEMENT_ROWS):
        schedules.filter(pk__in=ids[start : start + MAX_STATEMENT_ROWS]).update(name_key=models.F("name"))


class Migration(migrations.Migration):
    """Adds unique names, errors and further columns to schedules."""

    dependencies = [("django_q", "0020_indexes")]
    operations = [
        migrations.AlterField(
            model_name="schedule",
            name="func",
            field=models.CharField(
                help_text="e.g. module.tasks.function",
                max_length=256,
                validators=[django_q.models.schedule.validate_func],
                verbose_name="function",
            ),
        ),
        migrations.AlterField(
            model_name="schedule",
            name="cron",
            field=models.CharField(
                blank=True,
                help_text="Cron expression for the Cron type, e.g. 0 22 * * 1-5; the day L is the last of the month",
                max_length=100,
                null=True,
                validators=[django_q.models.schedule.validate_cron],
                verbose_name="cron",
            ),
        ),
        migrations.AddField(
            model_name="schedule",
            name="catch_up",
            field=models.BooleanField(
                blank=True,
                default=None,
                help_text=(
                    "Whether slots that passed while no cluster ran are made up for; unknown: as the settings say"
                ),
                null=True,
                verbose_name="catch up",
            ),
        ),
        migrations.AddField(
            model_name="schedule",
            name="overlap",
            field=models.BooleanField(
                db_default=True,
                default=True,
                help_text="Whether it is sent while its previous task still waits or runs",
                verbose_name="overlap",
            ),
        ),
        migrations.AddField(
            model_name="schedule",
            name="in_code",
            field=models.BooleanField(db_default=False, default=False, editable=False, verbose_name="in code"),
        ),
        migrations.AddField(
            model_name="schedule",
            name="last_error",
            field=models.TextField(default=None, editable=False, null=True, verbose_name="last error"),
        ),
        migrations.AddField(
            model_name="schedule",
            name="retry_at",
            field=models.DateTimeField(default=None, editable=False, null=True, verbose_name="retried at"),
        ),
        migrations.AddField(
            model_name="schedule",
            name="wall",
            field=models.CharField(default=None, editable=False, max_length=32, null=True, verbose_name="local time"),
        ),
        migrations.AddField(
            model_name="schedule",
            name="runs",
            field=models.IntegerField(db_default=0, default=0, editable=False, verbose_name="runs"),
        ),
        migrations.AddField(
            model_name="schedule",
            name="waiting_for",
            field=models.CharField(default=None, editable=False, max_length=32, null=True, verbose_name="waiting for"),
        ),
        migrations.AddField(
            model_name="schedule",
            name="name_key",
            field=models.CharField(default=None, editable=False, max_length=100, null=True, unique=True),
        ),
        migrations.RunPython(hold_names, migrations.RunPython.noop, elidable=True),
    ]
