"""`manage.py qimport celery_beat`: creates schedules from the periodic tasks of django-celery-beat."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from django.apps import apps
from django.core.exceptions import ValidationError
from django.core.management.base import CommandError
from django.db import transaction
from django.utils import timezone
from django.utils.translation import gettext as _
from django.utils.translation import gettext_noop, ngettext

from django_q.exceptions import DjangoQError
from django_q.models import Schedule
from django_q.schedules.celery_beat import converted
from django_q.schedules.creating import schedule
from django_q.schedules.texts import type_of
from django_q.settings import current_settings
from django_q.terminal.command import OperatorCommand

if TYPE_CHECKING:
    from argparse import ArgumentParser

    from django_q.settings import ClusterSettings

SOURCES = ("celery_beat",)
"""Apps whose periodic tasks can be imported."""


class Command(OperatorCommand):
    """Create schedules from the periodic tasks of another app."""

    help = gettext_noop(
        "Creates schedules from the periodic tasks of django-celery-beat. A schedule whose name exists is not changed."
    )

    def add_arguments(self, parser: ArgumentParser) -> None:
        """Declare the options."""
        super().add_arguments(parser)
        parser.add_argument("source", choices=SOURCES, help=_("App whose periodic tasks are imported."))
        parser.add_argument(
            "--dry-run", action="store_true", help=_("Print what would be created, and create nothing.")
        )

    def handle(self, *args: Any, dry_run: bool = False, as_json: bool = False, **options: Any) -> None:
        """Import all periodic tasks."""
        if not apps.is_installed("django_celery_beat"):
            raise CommandError(_("Add 'django_celery_beat' to INSTALLED_APPS, which has the periodic tasks."))
        model: Any = apps.get_model("django_celery_beat", "PeriodicTask")
        settings = current_settings()
        rows = [self._import(task, settings, dry_run) for task in model.objects.order_by("name")]
        if as_json:
            self.write_json(rows)
        else:
            outcomes = outcome_labels()
            for row in rows:
                detail = row["reason"] or row["schedule"]
                self.stdout.write(f"{outcomes[row['outcome']]}: {row['name']} ({detail})")
        failures = sum(row["outcome"] == "not imported" for row in rows)
        if failures:
            text = ngettext(
                "%(count)d of %(all)d periodic task was not imported.",
                "%(count)d of %(all)d periodic tasks were not imported.",
                len(rows),
            )
            raise CommandError(text % {"count": failures, "all": len(rows)})

    def _import(self, task: Any, settings: ClusterSettings, dry_run: bool) -> dict[str, str]:
        row = {"name": task.name, "outcome": "would create" if dry_run else "created", "schedule": "", "reason": ""}
        if Schedule.objects.filter(name=task.name).exists():
            return {**row, "outcome": "exists", "reason": _("a schedule has this name")}
        try:
            values = converted(task, settings, timezone.now())
            func, arguments = values.pop("func"), values.pop("args")
            with transaction.atomic():
                made = schedule(func, *arguments, **values)
                if dry_run:
                    transaction.set_rollback(True)
        except ValidationError as error:
            return {**row, "outcome": "not imported", "reason": " ".join(error.messages)}
        except DjangoQError as error:
            return {**row, "outcome": "not imported", "reason": str(error)}
        return {**row, "schedule": described(made)}


def outcome_labels() -> dict[str, str]:
    """Return the translated outcomes by their values in JSON."""
    return {
        "created": _("created"),
        "exists": _("exists"),
        "not imported": _("not imported"),
        "would create": _("would create"),
    }


def described(schedule: Schedule) -> str:
    """Return type and first slot of a schedule."""
    marks = {0: _("paused"), 1: _("once")}
    parts = [type_of(schedule), *([marks[schedule.repeats]] if schedule.repeats in marks else [])]
    return ", ".join([*parts, _("next run %s") % f"{schedule.next_run:%Y-%m-%d %H:%M:%S}"])
