"""`manage.py qdead`: counts the dead letters of a queue, or requeues them."""

from __future__ import annotations

import os
from typing import TYPE_CHECKING, Any

from django.core.management.base import BaseCommand, CommandError
from django.utils.translation import ngettext

from django_q.brokers import get_broker
from django_q.exceptions import DjangoQError
from django_q.settings.source import CLUSTER_NAME_VARIABLE

if TYPE_CHECKING:
    from argparse import ArgumentParser


class Command(BaseCommand):
    """Count the dead letters, or requeue them."""

    help = "Shows how many packages no cluster could read, and queues them again with --requeue."

    def add_arguments(self, parser: ArgumentParser) -> None:
        """Declare the options."""
        parser.add_argument("--requeue", action="store_true", help="Put them back on the queue.")
        parser.add_argument("--limit", type=int, help="Maximum number to put back.")
        parser.add_argument("-n", "--name", help="Name of the cluster whose queue it is.")

    def handle(
        self, *args: Any, requeue: bool = False, limit: int | None = None, name: str | None = None, **options: Any
    ) -> None:
        """Count or requeue the dead letters, and print their number."""
        if name:
            os.environ[CLUSTER_NAME_VARIABLE] = name
        try:
            broker = get_broker()
            if requeue:
                count = broker.requeue_dead(limit)
                text = ngettext("%d dead letter is queued again.", "%d dead letters are queued again.", count)
            else:
                count = broker.dead_size()
                text = ngettext("%d dead letter.", "%d dead letters.", count)
        except DjangoQError as error:
            raise CommandError(str(error)) from error
        self.stdout.write(text % count)
