"""Base class of the commands for operators."""

from __future__ import annotations

import json
import os
import sys
from contextlib import nullcontext
from typing import TYPE_CHECKING, Any

from django.core.management.base import BaseCommand, CommandError
from django.core.serializers.json import DjangoJSONEncoder
from django.db import DatabaseError, InterfaceError
from django.utils.translation import gettext as _
from django.utils.translation import override

from django_q.exceptions import DjangoQError
from django_q.settings.source import CLUSTER_NAME_VARIABLE
from django_q.text import error_line

if TYPE_CHECKING:
    from argparse import ArgumentParser

    from django.core.management.base import CommandParser


class TranslatedCommand(BaseCommand):
    """Command whose `help` is translated when it is shown, because argparse accepts no lazy translation."""

    def create_parser(self, prog_name: str, subcommand: str, **kwargs: Any) -> CommandParser:
        """Return the parser of the options, with the help in the language of the settings."""
        parser = super().create_parser(prog_name, subcommand, **kwargs)
        parser.description = _(self.help)
        return parser


class OperatorCommand(TranslatedCommand):
    """Command with the options `--name` and `--json`, whose output may be a pipe that ends."""

    requires_system_checks = ()

    def add_arguments(self, parser: ArgumentParser) -> None:
        """Declare the common options."""
        parser.add_argument("-n", "--name", help=_("Name of a cluster: uses its part of ALT_CLUSTERS."))
        parser.add_argument("--json", action="store_true", dest="as_json", help=_("Print JSON."))

    def execute(self, *args: Any, **options: Any) -> str | None:
        """Run the command. Errors of Django Q become messages, and a reader that leaves early ends it.

        JSON is for programs: its values are not translated.
        """
        if options.get("name"):
            os.environ[CLUSTER_NAME_VARIABLE] = options["name"]
        try:
            with override(None) if options.get("as_json") else nullcontext():
                output = super().execute(*args, **options)
            self.stdout.flush()
        except DjangoQError as error:
            raise CommandError(str(error)) from error
        except (DatabaseError, InterfaceError) as error:
            raise CommandError(
                _("The database cannot be used (%s): check that it runs and is migrated.") % error_line(error)
            ) from error
        except BrokenPipeError:  # https://docs.python.org/3/library/signal.html#note-on-sigpipe
            os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
            return None
        return output

    def write_json(self, values: Any) -> None:
        """Print values as JSON."""
        self.stdout.write(json.dumps(values, cls=DjangoJSONEncoder, indent=2, ensure_ascii=False))
