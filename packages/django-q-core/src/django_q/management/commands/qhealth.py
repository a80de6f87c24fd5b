"""`manage.py qhealth`: exits with 0 if clusters are healthy, and with 1 and the reasons if they are not."""

from __future__ import annotations

import sys
from typing import TYPE_CHECKING, Any

from django.utils.translation import gettext as _
from django.utils.translation import gettext_noop

from django_q.settings import current_settings
from django_q.terminal.command import OperatorCommand
from django_q.terminal.health import HealthCheck

if TYPE_CHECKING:
    from argparse import ArgumentParser


class Command(OperatorCommand):
    """Check the health of clusters."""

    help = gettext_noop("Exits with 0 if a cluster is idle or working, and with 1 and a reason if not.")

    def add_arguments(self, parser: ArgumentParser) -> None:
        """Declare the options."""
        super().add_arguments(parser)
        parser.add_argument("--cluster", help=_("Name or id of the cluster; all without this option."))
        parser.add_argument("--max-queue", type=int, help=_("Maximum number of tasks that wait in a queue."))
        parser.add_argument("--max-age", type=float, help=_("Maximum seconds for which a task waits."))

    def handle(
        self,
        *args: Any,
        cluster: str | None = None,
        max_queue: int | None = None,
        max_age: float | None = None,
        as_json: bool = False,
        **options: Any,
    ) -> None:
        """Check, print the result, and end the process with status 1 if something is not healthy."""
        check = HealthCheck(current_settings(), cluster)
        check.check_clusters()
        if max_queue is not None:
            check.check_queues(max_queue)
        if max_age is not None:
            check.check_age(max_age)
        if as_json:
            self.write_json(
                {
                    "healthy": not check.reasons,
                    "reasons": check.reasons,
                    "clusters": len(check.clusters),
                    "healthy_clusters": len(check.healthy_clusters),
                }
            )
        elif not check.reasons:
            self.stdout.write(check.summary())
        for reason in () if as_json else check.reasons:
            self.stderr.write(reason)
        if check.reasons:
            sys.exit(1)
