"""`manage.py qmemory`: shows the memory of clusters, live."""

from __future__ import annotations

import dataclasses
from typing import TYPE_CHECKING, Any

from django.utils.translation import gettext as _
from django.utils.translation import gettext_noop

from django_q.brokers import get_broker
from django_q.terminal.command import OperatorCommand
from django_q.terminal.live import is_interactive, print_once, show, width_of_output
from django_q.terminal.memory import MemoryMeter, memory_screen

if TYPE_CHECKING:
    from argparse import ArgumentParser


class Command(OperatorCommand):
    """Show the memory of clusters."""

    help = gettext_noop(
        "Shows the memory of the clusters on this host in megabytes, until q is pressed. It needs psutil."
    )

    def add_arguments(self, parser: ArgumentParser) -> None:
        """Declare the options."""
        super().add_arguments(parser)
        parser.add_argument("--run-once", action="store_true", help=_("Print one screen and exit, as in a pipe."))
        parser.add_argument("--workers", action="store_true", help=_("Show each worker, too."))

    def handle(
        self, *args: Any, run_once: bool = False, workers: bool = False, as_json: bool = False, **options: Any
    ) -> None:
        """Show the screens, or print one."""
        meter = MemoryMeter(get_broker())
        if as_json:
            rows = [dataclasses.asdict(row) for row in meter.measure()]
            self.write_json({"clusters": rows, "problems": meter.problems})
        elif run_once or not is_interactive():
            width = width_of_output(self.stdout)
            print_once(memory_screen(meter, meter.measure(), width, workers=workers), self.stdout)
        else:
            show(
                lambda width, height: memory_screen(meter, meter.measure(), width, height, workers=workers),
                lambda key: None,
            )
