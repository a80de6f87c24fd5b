"""Screens and commands in German and French."""

from __future__ import annotations

import json
from io import StringIO

import pytest
from django.core.cache import cache
from django.core.management import CommandError, call_command, load_command_class
from django.core.management.base import BaseCommand
from django.utils.translation import override
from django_q.__about__ import __version__
from django_q.models import Schedule
from django_q.status import IDLE, STARTING, STOPPED, STOPPING, WORKING, Stat
from django_q.terminal.tables import plain, width_of
from django_q.terminal.task_list import list_screen, task_rows
from django_q.terminal.views import INFO_CELL_WIDTH, VIEWS, emptiness, screen, summary

COMMANDS = ("qcluster", "qdead", "qhealth", "qimport", "qinfo", "qmemory", "qmonitor", "qschedule", "qtasks")
STATES = (STARTING, WORKING, IDLE, STOPPING, STOPPED)

pytestmark = pytest.mark.parametrize("language", ["de", "fr"])


@pytest.fixture(autouse=True)
def _language(settings, language):
    """The project's language."""
    settings.LANGUAGE_CODE = language
    cache.clear()


def output(*arguments: str) -> str:
    out = StringIO()
    call_command(*arguments, stdout=out)
    return out.getvalue()


def parsers(name: str) -> list:
    """Return the parser of a command, and those of its actions."""
    parser = load_command_class("django_q", name).create_parser("manage.py", name)
    actions = next((action.choices for action in parser._actions if action.dest == "action"), {})
    return [parser, *actions.values()]


def helps(name: str) -> set[str]:
    """Return the texts of a command's help, without those of Django's own options."""
    options = [option for parser in parsers(name) for option in parser._actions]
    actions = [action for option in options for action in getattr(option, "_choices_actions", ())]
    django = {option.help for option in BaseCommand().create_parser("manage.py", "x")._actions}
    return {parsers(name)[0].description, *(each.help for each in [*options, *actions] if each.help)} - django


@pytest.mark.parametrize("name", COMMANDS)
def test_help_is_translated(name, language):
    translated = helps(name)
    assert parsers(name)[0].format_help()
    with override("en"):
        english = helps(name)
    assert len(translated) == len(english) > 2
    assert not translated & english


@pytest.mark.parametrize("view", VIEWS)
@pytest.mark.parametrize("status", STATES)
def test_qmonitor_fits_80_columns(snapshot, cluster, running_task, view, status, language):
    clusters = [cluster(number, status=status, host="a-host-with-a-long-name") for number in (1, 2)]
    lines = [plain(line) for line in screen(snapshot(*clusters, running=(running_task(),)), view, 80, keys=True)]
    assert max(map(width_of, lines)) <= 80
    assert "…" not in "".join([lines[0], *lines[-2:]])


@pytest.mark.parametrize("view", VIEWS)
def test_sentences_of_empty_views_fit_80_columns(view, language):
    assert width_of(emptiness(view)) <= 80


@pytest.mark.parametrize("recent", [1, 100, 10_000, 1_000_000])
def test_qinfo_fits_its_cells(snapshot, cluster, language, recent):
    totals = snapshot().totals
    changed = type(totals)(successes=10**9, failures=10**9, schedules=10**9, recent=recent, average=9_999.9999)
    lines = summary(snapshot(cluster(), totals=changed), __version__, 80)
    cells = [segment.text for line in lines[1:4] for segment in line]
    assert len(cells) == 18
    assert {width_of(cell) for cell in cells} == {INFO_CELL_WIDTH}
    assert all(cell.endswith(" ") for cell in cells)


@pytest.mark.django_db
@pytest.mark.parametrize("command", ["qmonitor --run-once", "qinfo", "qmemory --run-once --workers"])
def test_commands_fit_80_columns(command, language):
    if command.startswith("qmemory"):
        pytest.importorskip("psutil")
    for state in STATES:
        Stat(17004, state, host="a-host-with-a-rather-long-name.example", status=state, workers=[1, 2]).save()
    assert max(map(width_of, output(*command.split()).splitlines())) <= 80


@pytest.mark.django_db
def test_states_are_translated_when_they_are_shown(language):
    """The state of a cluster is a value that readers of all languages know."""
    Stat(17004, "one", host="Orion", status="Idle", workers=[1]).save()
    assert {"de": "Bereit", "fr": "Inactif"}[language] in output("qmonitor", "--run-once")
    assert {"de": "1 von 1 Cluster", "fr": "1 cluster sur 1"}[language] in output("qhealth")
    assert Stat.get("one").status == IDLE


@pytest.mark.django_db
def test_json_is_not_translated(language):
    assert json.loads(output("qmonitor", "--json"))["clusters"] == []
    out = StringIO()
    with pytest.raises(SystemExit):
        call_command("qhealth", "--json", stdout=out)
    assert json.loads(out.getvalue())["reasons"] == ["No cluster publishes statistics."]


@pytest.mark.django_db
def test_qschedule_and_qdead_are_translated(language):
    Schedule.objects.create(name="floor", func="math.floor", schedule_type="H", repeats=0)
    assert {"de": "pausiert", "fr": "suspendue"}[language] in output("qschedule")
    assert {"de": "0 unzustellbare Pakete.", "fr": "0 lettre morte."}[language] in output("qdead")
    with pytest.raises(CommandError, match={"de": "0 Zeitpläne heißen", "fr": "0 planification se nomme"}[language]):
        output("qschedule", "--run", "ceiling")


@pytest.mark.django_db
def test_list_without_tasks_is_translated(language):
    (line,) = list_screen(task_rows(5), 80)
    assert plain(line) == {"de": "Es gibt keine Aufgaben.", "fr": "Il n\u2019y a pas de tâches."}[language]
