"""`manage.py qtasks`: lists, shows, cancels and resubmits tasks."""

from __future__ import annotations

import dataclasses
from argparse import SUPPRESS
from typing import TYPE_CHECKING, Any

from django.core.management.base import CommandError
from django.utils.translation import gettext as _
from django.utils.translation import gettext_noop, ngettext

from django_q.models.record import Status
from django_q.tasks import cancel, cancel_group
from django_q.tasks.resubmitting import resubmit
from django_q.terminal.command import OperatorCommand
from django_q.terminal.live import print_once, width_of_output
from django_q.terminal.task_list import description, description_lines, list_screen, task_rows
from django_q.text import error_line, one_line

if TYPE_CHECKING:
    from argparse import ArgumentParser
    from collections.abc import Callable, Sequence

DEFAULT_LIMIT = 20
"""Number of tasks in a list."""


class Command(OperatorCommand):
    """List, show, cancel and resubmit tasks."""

    help = gettext_noop("Lists, shows, cancels and resubmits tasks: tracked ones, and finished ones that are saved.")

    def add_arguments(self, parser: ArgumentParser) -> None:
        """Declare the actions and their options."""
        super().add_arguments(parser)
        actions = parser.add_subparsers(dest="action", metavar="list|show|cancel|resubmit", required=True)
        listing = actions.add_parser("list", help=_("List tasks, those sent last first."))
        listing.add_argument("--status", choices=Status.values, help=_("Only tasks with this status."))
        listing.add_argument("--group", help=_("Only tasks of this group."))
        listing.add_argument("--limit", type=int, default=DEFAULT_LIMIT, help=_("Maximum number (%d).") % DEFAULT_LIMIT)
        showing = actions.add_parser("show", help=_("Show all that is known of a task."))
        showing.add_argument("ids", nargs=1, metavar="id", help=_("Id or name of a task."))
        cancelling = actions.add_parser("cancel", help=_("Cancel tasks that wait or run."))
        cancelling.add_argument("ids", nargs="*", metavar="id", help=_("Ids, or names of tracked tasks."))
        cancelling.add_argument("--group", help=_("Cancel all tasks of this group."))
        resubmitting = actions.add_parser("resubmit", help=_("Send finished tasks again, as new ones."))
        resubmitting.add_argument("ids", nargs="+", metavar="id", help=_("Ids or names of tasks."))
        for each in (listing, showing):
            each.add_argument("--json", action="store_true", dest="as_json", default=SUPPRESS, help=_("Print JSON."))

    def handle(self, *args: Any, action: str = "list", **options: Any) -> None:
        """Do what the options ask for."""
        actions: dict[str, Callable[..., None]] = {
            "list": self.list_tasks, "show": self.show, "cancel": self.cancel, "resubmit": self.resubmit
        }  # fmt: skip
        actions[action](**options)

    def list_tasks(
        self,
        *,
        limit: int,
        status: str | None = None,
        group: str | None = None,
        as_json: bool = False,
        **options: Any,
    ) -> None:
        """List tasks."""
        if limit < 1:
            raise CommandError(_("--limit must be 1 or more."))
        rows = task_rows(limit, status=status, group=group)
        if as_json:
            self.write_json([dataclasses.asdict(row) for row in rows])
        else:
            print_once(list_screen(rows, width_of_output(self.stdout)), self.stdout)

    def show(self, *, ids: Sequence[str], as_json: bool = False, **options: Any) -> None:
        """Show one task."""
        values = description(ids[0])
        if values is None:
            raise CommandError(
                _("There is no record and no finished task '%s'. Untracked tasks are seen when they are finished.")
                % one_line(ids[0])
            )
        if as_json:
            self.write_json(values)
            return
        for line in description_lines(values):
            self.stdout.write(line)

    def cancel(self, *, ids: Sequence[str] = (), group: str | None = None, **options: Any) -> None:
        """Cancel tasks."""
        if not ids and group is None:
            raise CommandError(_("Name tasks, or a group with --group."))
        ended = [task_id for task_id in ids if not self.cancel_one(task_id)]
        if group is not None:
            count = cancel_group(group)
            text = ngettext(
                "Cancellation of %d tracked task was requested.",
                "Cancellation of %d tracked tasks was requested.",
                count,
            )
            self.stdout.write(text % count)
        if ended:
            raise CommandError(_("These tasks have ended: %s.") % ", ".join(map(one_line, ended)))

    def cancel_one(self, task_id: str) -> bool:
        """Cancel a task; return False if it has ended."""
        requested = cancel(task_id)
        if requested:
            self.stdout.write(_("Cancellation of %s was requested.") % one_line(task_id))
        return requested

    def resubmit(self, *, ids: Sequence[str], **options: Any) -> None:
        """Send tasks again."""
        failed = [task_id for task_id in ids if not self.resubmit_one(task_id)]
        if failed:
            raise CommandError(_("Not resubmitted: %s.") % ", ".join(map(one_line, failed)))

    def resubmit_one(self, task_id: str) -> bool:
        """Send a task again; return False if that failed."""
        try:
            new_id = resubmit(task_id)
        except (Exception, SystemExit) as error:  # noqa: BLE001 - imports code of the project
            self.stderr.write(f"{one_line(task_id)}: {error_line(error)}")
            return False
        self.stdout.write(_("%(task)s was sent again as %(new)s.") % {"task": one_line(task_id), "new": new_id})
        return True
