"""`manage.py qinfo`: prints a summary of all clusters, their ids, or the configuration."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from django.utils.translation import gettext as _
from django.utils.translation import gettext_noop

from django_q.__about__ import __version__
from django_q.settings import current_settings
from django_q.terminal.command import OperatorCommand
from django_q.terminal.configuration import configuration
from django_q.terminal.live import print_once, width_of_output
from django_q.terminal.snapshot import Collector
from django_q.terminal.views import emptiness, summary

if TYPE_CHECKING:
    from argparse import ArgumentParser


class Command(OperatorCommand):
    """Print a summary, the ids of clusters, or the configuration."""

    help = gettext_noop("Prints a summary of all clusters.")

    def add_arguments(self, parser: ArgumentParser) -> None:
        """Declare the options."""
        super().add_arguments(parser)
        kind = parser.add_mutually_exclusive_group()
        kind.add_argument("--config", action="store_true", help=_("Print the configuration, without secrets."))
        kind.add_argument("--ids", action="store_true", help=_("Print the ids of running clusters."))

    def handle(
        self, *args: Any, config: bool = False, ids: bool = False, as_json: bool = False, **options: Any
    ) -> None:
        """Print what the options ask for."""
        if config:
            self._config(as_json)
        elif ids:
            self._ids(as_json)
        elif as_json:
            self.write_json(Collector().snapshot().as_dict())
        else:
            lines = summary(Collector().snapshot(), __version__, width_of_output(self.stdout))
            print_once(lines, self.stdout)

    def _config(self, as_json: bool) -> None:
        values = configuration(current_settings())
        if as_json:
            self.write_json(values)
            return
        for name, value in values.items():
            self.stdout.write(f"{name}: {value}")

    def _ids(self, as_json: bool) -> None:
        snapshot = Collector().snapshot()
        found = [row.cluster_id for row in snapshot.clusters]
        if as_json:
            self.write_json(found)
            return
        for line in found or [emptiness("clusters")]:
            self.stdout.write(line)
        for problem in snapshot.problems:
            self.stderr.write(problem)
