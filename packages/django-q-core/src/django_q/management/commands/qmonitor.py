"""`manage.py qmonitor`: shows all clusters of the project, live."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, Final

from django.utils.translation import gettext as _
from django.utils.translation import gettext_noop

from django_q.terminal.command import OperatorCommand
from django_q.terminal.live import is_interactive, print_once, show, width_of_output
from django_q.terminal.snapshot import Collector
from django_q.terminal.views import VIEWS, screen

if TYPE_CHECKING:
    from argparse import ArgumentParser


VIEW_KEYS: Final[dict[str, str]] = dict(zip("123", VIEWS, strict=True))
"""Name of the view that each key shows."""


class Command(OperatorCommand):
    """Show clusters, queues and running tasks."""

    help = gettext_noop("Shows all clusters of the project, their queues and running tasks, until q is pressed.")

    def add_arguments(self, parser: ArgumentParser) -> None:
        """Declare the options."""
        super().add_arguments(parser)
        parser.add_argument("--run-once", action="store_true", help=_("Print one screen and exit, as in a pipe."))
        parser.add_argument("--view", choices=VIEWS, default="clusters", help=_("View to begin with (clusters)."))

    def handle(
        self, *args: Any, run_once: bool = False, as_json: bool = False, view: str = "clusters", **options: Any
    ) -> None:
        """Show the screens, or print one."""
        collector = Collector()
        if as_json:
            self.write_json(collector.snapshot().as_dict())
        elif run_once or not is_interactive():
            print_once(screen(collector.snapshot(), view, width_of_output(self.stdout)), self.stdout)
        else:
            Monitor(collector, view).run()


class Monitor:
    """Live screens, whose view the keys 1 to 3 choose."""

    def __init__(self, collector: Collector, view: str) -> None:
        self.collector, self.view = collector, view

    def run(self) -> None:
        """Show screens until `q`."""
        show(
            lambda width, height: screen(self.collector.snapshot(), self.view, width, height, keys=True),
            self.press,
        )

    def press(self, key: str) -> None:
        """Change the view."""
        if key in VIEW_KEYS:
            self.view = VIEW_KEYS[key]
