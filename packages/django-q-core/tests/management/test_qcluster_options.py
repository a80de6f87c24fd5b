"""Options of `manage.py qcluster` that change the settings."""

from __future__ import annotations

import subprocess
import sys

import pytest
from django.core import checks
from django.core.checks.commands import migrate_and_makemigrations_autodetector
from django.core.checks.registry import registry
from django.core.management.base import SystemCheckError
from django_q.exceptions import ConfigurationError
from django_q.management.commands.qcluster import Command, with_options

IMPORTED = """
import sys
import django
from django_q.management.commands.qcluster import Command
django.setup()
Command().check()
print("django.db.migrations.autodetector" in sys.modules)
"""


def test_number_of_workers_replaces_the_setting(settings_of):
    changed = with_options(settings_of(workers=4), workers=3)
    assert (changed.workers, changed.queue_limit) == (3, 9)


def test_queue_limit_of_the_project_stays(settings_of):
    assert with_options(settings_of(workers=4, queue_limit=50), workers=3).queue_limit == 50


def test_queues_are_separated_by_commas(settings_of):
    assert list(with_options(settings_of(), queues="default, mail").queues) == ["default", "mail"]


def test_log_may_be_json(settings_of):
    assert with_options(settings_of(), log_json=True).log_json is True
    assert with_options(settings_of(log_json=True)).log_json is True


def test_without_options_the_settings_stay(settings_of):
    found = settings_of()
    assert with_options(found, verbosity=1, settings=None) is found


@pytest.mark.parametrize("workers", [0, -1])
def test_invalid_number_of_workers_is_an_error(settings_of, workers):
    with pytest.raises(ConfigurationError, match="--workers"):
        with_options(settings_of(), workers=workers)


def test_checks_of_the_project_run(monkeypatch):
    def check(**_):
        return [checks.Error("wrong", id="test.E001")]

    monkeypatch.setattr(
        registry, "registered_checks", registry.registered_checks | {checks.register("commands")(check)}
    )
    with pytest.raises(SystemCheckError, match=r"test\.E001"):
        Command().check()
    assert migrate_and_makemigrations_autodetector in registry.registered_checks


def test_checks_import_no_commands_of_django():
    done = subprocess.run([sys.executable, "-c", IMPORTED], capture_output=True, text=True, check=True)
    assert done.stdout == "False\n"
