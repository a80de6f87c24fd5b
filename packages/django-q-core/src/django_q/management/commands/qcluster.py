"""`manage.py qcluster`: starts a cluster and waits for its end."""

from __future__ import annotations

import dataclasses
import os
import sys
from typing import TYPE_CHECKING, Any, Final

from django.conf import settings as django_settings
from django.core.checks.commands import migrate_and_makemigrations_autodetector
from django.core.checks.registry import registry
from django.core.management.base import CommandError
from django.utils.translation import gettext as _
from django.utils.translation import gettext_noop

from django_q import cluster
from django_q.brokers import consuming_broker
from django_q.cluster.ipc.lifeline import die_with_parent
from django_q.cluster.probes.listener import Address, Listener
from django_q.cluster.probes.waiting_room import waiting_room
from django_q.exceptions import ConfigurationError, DjangoQError
from django_q.management.reloader import Reloader, is_reloaded
from django_q.settings import current_settings
from django_q.settings.source import CLUSTER_NAME_VARIABLE
from django_q.terminal.command import TranslatedCommand

if TYPE_CHECKING:
    from argparse import ArgumentParser

    from django_q.settings import ClusterSettings

INTERRUPTED: Final = 130
"""Exit status after SIGINT, as of a shell."""


class Command(TranslatedCommand):
    """Start a Django Q cluster."""

    help = gettext_noop("Starts a Django Q cluster.")

    def add_arguments(self, parser: ArgumentParser) -> None:
        """Declare the options."""
        ends = parser.add_mutually_exclusive_group()
        ends.add_argument("--run-once", action="store_true", help=_("Start the cluster, then stop it: a test of it."))
        ends.add_argument("--burst", action="store_true", help=_("Process everything that is due, then stop."))
        parser.add_argument("-n", "--name", help=_("Name of the cluster: its queue, and its part of ALT_CLUSTERS."))
        parser.add_argument("--queues", help=_("Queues that it consumes, separated by commas; 'default' is its own."))
        parser.add_argument("--workers", type=int, help=_("Number of workers, instead of the setting."))
        parser.add_argument("--fail-fast", action="store_true", help=_("Exit with 1 instead of waiting for a server."))
        parser.add_argument(
            "--http", metavar="[HOST:]PORT", help=_("Serve /livez, /readyz and /metrics on this address.")
        )
        parser.add_argument("--reload", action="store_true", help=_("Restart the cluster when code changes."))
        parser.add_argument("--log-json", action="store_true", help=_("Write the log as JSON on standard error."))

    def execute(self, *args: Any, **options: Any) -> str | None:
        """Reject Windows, before an import that fails there."""
        if sys.platform == "win32":
            raise CommandError(cluster.NEEDS_UNIX)
        return super().execute(*args, **options)

    def check(self, *args: Any, **options: Any) -> None:
        """Run all system checks but Django's of its own commands, whose modules each process would inherit."""
        checks = registry.registered_checks
        registry.registered_checks = {each for each in checks if each is not migrate_and_makemigrations_autodetector}
        try:
            super().check(*args, **options)
        finally:
            registry.registered_checks = checks

    def handle(
        self,
        *args: Any,
        run_once: bool = False,
        burst: bool = False,
        fail_fast: bool = False,
        http: str | None = None,
        reload: bool = False,
        name: str | None = None,
        **options: Any,
    ) -> None:
        """Run the cluster, and end the process with its exit status."""
        if reload and not is_reloaded():
            sys.exit(Reloader(self.stderr.write).run())
        if reload:
            die_with_parent()
        if name:
            os.environ[CLUSTER_NAME_VARIABLE] = name
        try:
            if not django_settings.SECRET_KEY:
                raise CommandError(_("SECRET_KEY is empty: packages are signed with it."))
            settings = with_options(current_settings(), **options)
            broker = consuming_broker(settings)
            listener = None if http is None else Listener(Address.parse(http))
            started = cluster.Cluster(broker, settings=settings, listener=listener)
            with waiting_room(listener):
                started.wait_for_servers(fail_fast=fail_fast)
            status = started.run(once=run_once, burst=burst)
        except DjangoQError as error:
            raise CommandError(str(error)) from error
        except KeyboardInterrupt:  # while it waits for a server: the cluster has its own handler
            sys.exit(INTERRUPTED)
        if status:
            sys.exit(status)


def with_options(
    settings: ClusterSettings,
    /,
    *,
    queues: str | None = None,
    workers: int | None = None,
    log_json: bool = False,
    **options: Any,
) -> ClusterSettings:
    """Return the settings, changed by options of the command.

    Args:
        settings: settings of the project.
        queues: queues that the cluster consumes, separated by commas.
        workers: number of workers. The default of `queue_limit` follows it.
        log_json: True to write the log as JSON.
        **options: other options, which change nothing.

    Raises:
        ConfigurationError: a value is invalid.
    """
    changes: dict[str, Any] = {}
    if queues:
        changes["queues"] = [each.strip() for each in queues.split(",")]
    if workers is not None:
        if workers < 1:
            raise ConfigurationError(_("--workers must be 1 or more."))
        changes["workers"] = workers
        if "queue_limit" not in settings.explicit:
            changes["queue_limit"] = None
    if log_json:
        changes["log_json"] = True
    return dataclasses.replace(settings, **changes) if changes else settings
