"""`manage.py qdead`: counts, lists, shows, requeues and deletes the dead letters of a queue."""

from __future__ import annotations

import os
from typing import TYPE_CHECKING, Any

from django.core.management.base import CommandError
from django.utils.translation import gettext as _
from django.utils.translation import gettext_noop, ngettext

from django_q.brokers import get_broker
from django_q.brokers.dead_letters import dead_letters_of
from django_q.exceptions import DjangoQError
from django_q.settings.source import CLUSTER_NAME_VARIABLE
from django_q.terminal.command import TranslatedCommand
from django_q.text import bounded, one_line

if TYPE_CHECKING:
    from argparse import ArgumentParser

    from django_q.brokers import Broker
    from django_q.brokers.dead_letters import DeadLetter

MAX_PACKAGE_CHARACTERS = 4_000
"""Maximum length of a package that is printed."""


class Command(TranslatedCommand):
    """Count the dead letters, list or show them, requeue or delete them."""

    requires_system_checks = ()
    help = gettext_noop("Shows how many packages no cluster could read, lists them, and requeues or deletes them.")

    def add_arguments(self, parser: ArgumentParser) -> None:
        """Declare the options."""
        chosen = parser.add_mutually_exclusive_group()
        chosen.add_argument("--list", action="store_true", dest="listed", help=_("List them, with their ids."))
        chosen.add_argument("--show", metavar="ID", help=_("Show one of them."))
        chosen.add_argument("--delete", metavar="ID", nargs="+", help=_("Delete those with these ids."))
        chosen.add_argument("--requeue", action="store_true", help=_("Put them back on the queue."))
        parser.add_argument("--limit", type=int, help=_("Maximum number to list or to put back."))
        parser.add_argument("-n", "--name", help=_("Name of the cluster whose queue it is."))

    def handle(
        self,
        *args: Any,
        listed: bool = False,
        show: str | None = None,
        delete: list[str] | None = None,
        requeue: bool = False,
        limit: int | None = None,
        name: str | None = None,
        **options: Any,
    ) -> None:
        """Do what the options say; without any, print the number of dead letters."""
        if name:
            os.environ[CLUSTER_NAME_VARIABLE] = name
        try:
            broker = get_broker()
            if listed:
                self._list(broker, limit)
            elif show:
                self._show(found(broker, show))
            elif delete:
                self._delete(broker, delete)
            elif requeue:
                count = broker.requeue_dead(limit)
                self.stdout.write(
                    ngettext("%d dead letter is queued again.", "%d dead letters are queued again.", count) % count
                )
            else:
                count = broker.dead_size()
                self.stdout.write(ngettext("%d dead letter.", "%d dead letters.", count) % count)
        except DjangoQError as error:
            raise CommandError(str(error)) from error

    def _list(self, broker: Broker, limit: int | None) -> None:
        for letter in dead_letters_of(broker) if limit is None else dead_letters_of(broker, limit):
            self.stdout.write(line(letter))

    def _show(self, letter: DeadLetter) -> None:
        self.stdout.write(line(letter))
        for key, value in letter.metadata.items():
            if key not in ("args", "kwargs"):
                self.stdout.write(f"  {key}: {one_line(value)}")
        self.stdout.write(f"  package: {bounded(letter.package, MAX_PACKAGE_CHARACTERS)}")

    def _delete(self, broker: Broker, ids: list[str]) -> None:
        chosen = [found(broker, identity) for identity in dict.fromkeys(ids)]
        deleted = sum(broker.delete_dead(letter.package) for letter in chosen)
        self.stdout.write(ngettext("%d dead letter is deleted.", "%d dead letters are deleted.", deleted) % deleted)


def found(broker: Broker, identity: str) -> DeadLetter:
    """Return the dead letter with an id.

    Raises:
        CommandError: there is none.
    """
    for letter in dead_letters_of(broker):
        if letter.id == identity:
            return letter
    raise CommandError(
        _("There is no dead letter '%s': 'manage.py qdead --list' lists all, with ids.") % one_line(identity)
    )


def line(letter: DeadLetter) -> str:
    """Return the line of a dead letter: its id, its task, or the reason why nothing can be read."""
    task = "  ".join(one_line(letter.metadata[key]) for key in ("id", "name", "func") if key in letter.metadata)
    return f"[{letter.id}]  {task or letter.reason}"
