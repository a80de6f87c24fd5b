"""Each block of each page is executed as printed, or read by the parser of its format; other blocks have a reason."""

from __future__ import annotations

import json
import re
import shlex
import shutil
import subprocess
import sys
import tomllib
from argparse import _SubParsersAction
from configparser import ConfigParser
from itertools import chain
from typing import TYPE_CHECKING

import pytest
import yaml
from django.core.management import get_commands, load_command_class
from dockerfile_parse import DockerfileParser
from honcho.environ import parse_procfile
from promql_parser import parse

from tests.docs.pages import DOCS, REPOSITORY, Block, blocks_of, commands_of, pages
from tests.docs.site import site
from tests.docs.test_code_blocks import OWN_TESTS
from tests.services.ports import free_port

if TYPE_CHECKING:
    from argparse import ArgumentParser
    from collections.abc import Callable
    from pathlib import Path

pytestmark = pytest.mark.variant

NOT_EXECUTED = {
    "git ": "publishes a release",
    "hatch run bench:": "takes minutes to hours; its name is compared with hatch.toml",
    "python3 -m venv .venv && .venv/bin/pip install": "is executed by .ci/run, which reads it from the README",
    **dict.fromkeys(
        (
            "pip install --no-deps django-q-",
            "pip install ./packages/django-q-",
            'pip install "django-q-',
            "pip uninstall django-q",
        ),
        "is executed by tests/wheels.py, with the wheels",
    ),
    "pip install pytest pytest-django": "is in the environment of the tests",
    "python manage.py qimport celery_beat": "needs the app of django-celery-beat: tests/third_party/test_qimport.py",
}
"""Beginnings of commands that this module does not execute, with the reasons."""

OTHER_TESTS = {
    "docs/how-to/services.md": "tests/services starts the same servers, on free ports and in temporary folders",
    "packages/django-q-redis/README.md": "its tests/test_permissions.py gives a user the rights of the page",
}
"""Pages whose commands are those of servers, with the tests that run them."""

IN_BACKGROUND = {"qcluster": " running. [", "runserver": "Quit the server"}
"""Commands that run until Ctrl-C, and their output when they are ready."""

INSTRUCTIONS = {"CMD", "COPY", "FROM", "HEALTHCHECK", "RUN", "STOPSIGNAL", "WORKDIR"}
"""Instructions of Docker that the pages use."""
MANAGE = re.compile(r"manage\.py (\w+)((?: [^\n\"`|,;]+)?)")


FOLLOWED = [page for page, test in OWN_TESTS.items() if "import Terminal" in (REPOSITORY / test).read_text()]
"""Pages whose tests run their commands in order."""


def name(page: Path) -> str:
    return str(page.relative_to(REPOSITORY))


def commands() -> list[str]:
    """Return each command of the other pages, once."""
    return commands_of(page for page in pages() if name(page) not in (*FOLLOWED, *OTHER_TESTS))


def parsed(*languages: str) -> list:
    """All blocks of some formats, as parameters."""
    blocks = [(page, block) for page in pages() for block in blocks_of(page, *languages)]
    return [pytest.param(block, id=f"{name(page)}-{number}") for number, (page, block) in enumerate(blocks)]


# Executed


@pytest.fixture(scope="module")
def reader_site(tmp_path_factory):
    with site(tmp_path_factory.mktemp("site")) as found:
        yield found


def test_commands_run_as_printed(reader_site):
    terminal, ids = reader_site
    executed = [line for line in commands() if not line.startswith(tuple(NOT_EXECUTED))]
    assert [line for line in executed if not line.startswith("python manage.py ")] == [], "add how they are checked"
    for line in executed:
        command = re.sub(r"\b8000\b", str(free_port()), line)
        for printed, real in ids.items():
            command = command.replace(printed, real)
        ready = IN_BACKGROUND.get(line.split()[2])
        if ready is None:
            terminal.run(command)
        else:
            with terminal.running(command, ready):
                pass


@pytest.mark.parametrize("command", ["qmonitor", "qinfo"])
def test_output_has_the_titles_of_the_page(reader_site, command):
    page = (DOCS / "how-to" / "monitor.md").read_text(encoding="utf-8")
    [expected] = re.findall(rf"```shell\npython manage.py {command}\n```\n\n```text\n(.*?)```", page, re.DOTALL)
    output = reader_site[0].run(f"python manage.py {command}")
    if command == "qmonitor":
        assert output.splitlines()[0].split() == expected.splitlines()[0].split()
    else:
        titles = re.compile(r"^(\w[\w/]*(?: \w+)?)  |  (?=[A-Z])([\w/]+(?: \w+)?)  ", re.MULTILINE)
        rate = re.compile("Tasks/(second|minute|hour|day)")
        assert rate.sub("", str(titles.findall(output))) == rate.sub("", str(titles.findall(expected)))


# Parsed


@pytest.mark.parametrize("block", parsed("ini"))
def test_ini_file_is_read_by_its_program(block, tmp_path):
    parser = ConfigParser(interpolation=None)
    parser.optionxform = str
    parser.read_string(block.code)
    if "Service" not in parser:
        [section] = parser.sections()
        assert section in ("program:qcluster", "watcher:qcluster")
        return
    unit = tmp_path / "qcluster.service"
    unit.write_text(re.sub(r"/srv/\S+/python", sys.executable, block.code))
    if verify := shutil.which("systemd-analyze"):
        done = subprocess.run([verify, "verify", unit], capture_output=True, text=True, check=False)
        assert (done.returncode, done.stderr) == (0, "")


@pytest.mark.parametrize("block", parsed("dockerfile"))
def test_dockerfile_has_known_instructions(block, tmp_path):
    parser = DockerfileParser(str(tmp_path))
    parser.content = block.code
    assert {each["instruction"] for each in parser.structure} <= INSTRUCTIONS


@pytest.mark.parametrize("block", parsed("yaml"))
def test_yaml_describes_a_container(block):
    value = yaml.safe_load(block.code)
    if value.get("kind") == "Deployment":
        [value] = value["spec"]["template"]["spec"]["containers"]
    assert "qcluster" in value.get("command", value.get("args"))


@pytest.mark.parametrize("block", parsed("procfile"))
def test_procfile_is_read_by_honcho(block):
    assert "cluster" in parse_procfile(block.code).processes


@pytest.mark.parametrize("block", parsed("promql"))
def test_each_alert_is_a_query(block):
    for line in block.code.splitlines():
        parse(line)


@pytest.mark.parametrize("block", parsed("json"))
def test_json_is_valid(block):
    assert json.loads(block.code)


@pytest.mark.parametrize("block", parsed("text"))
def test_files_of_diagrams_exist(block):
    core = REPOSITORY / "packages/django-q-core/src/django_q"
    for path in re.findall(r"\b(?!manage\.py)\w+/[\w/]+\.py\b", block.code):
        assert (core / path).exists() or (REPOSITORY / path).exists(), path


def test_all_commands_of_manage_py_have_these_options():
    """Also those in files of supervisors, and within sentences."""
    known = get_commands()
    for page in pages():
        for command, rest in MANAGE.findall(page.read_text(encoding="utf-8")):
            if known.get(command, "").startswith("django_q") and "…" not in rest:
                parser = load_command_class("django_q", command).create_parser("manage.py", command)
                flags = options_of(parser)
                used = [word for word in shlex.split(rest.replace("'", "")) if word.startswith("--")]
                assert [flag for flag in used if flag not in flags] == [], f"{name(page)}: {command}{rest}"


def test_all_hatch_commands_exist_and_are_listed():
    workspace = tomllib.loads((REPOSITORY / "hatch.toml").read_text(encoding="utf-8"))["envs"]
    scripts = {
        *workspace["default"]["scripts"],
        *(f"{env}:{script}" for env, table in workspace.items() for script in scripts_of(table)),
    }
    for page in pages():
        text = page.read_text(encoding="utf-8")
        assert [each for each in re.findall(r"hatch run ([a-z][\w:-]*\w)", text) if each not in scripts] == [], page
        for path in re.findall(r"hatch test ([\w./-]+/[\w./-]+)", text):
            assert (REPOSITORY / path).exists(), f"{name(page)}: {path}"
    contributing = (REPOSITORY / "CONTRIBUTING.md").read_text(encoding="utf-8")
    listed = {each for each in scripts if not each.startswith(("default:", "hatch-check-"))}  # `hatch check` runs these
    assert [each for each in listed if each not in contributing] == []


def options_of(parser: ArgumentParser) -> set[str]:
    """Options of a command and of its subcommands."""
    own = {each for action in parser._actions for each in action.option_strings}
    subcommands = [action.choices.values() for action in parser._actions if isinstance(action, _SubParsersAction)]
    return own.union(*(options_of(each) for each in chain(*subcommands)))


def scripts_of(environment: dict) -> list[str]:
    return [*environment.get("scripts", ())]


# All


CHECKED: dict[str, Callable[[str, Block], bool]] = {
    "dockerfile": lambda page, block: True,
    "html+django": lambda page, block: page in OWN_TESTS,
    "ini": lambda page, block: True,
    "json": lambda page, block: True,
    "procfile": lambda page, block: True,
    "promql": lambda page, block: True,
    "python": lambda page, block: True,  # tests/docs/test_code_blocks.py, and OWN_TESTS
    "shell": lambda page, block: True,  # test_commands_run_as_printed, OWN_TESTS and OTHER_TESTS
    "text": lambda page, block: page in SHOWN or page in OTHER_TESTS,
    "toml": lambda page, block: page in OWN_TESTS,
    "yaml": lambda page, block: True,
}
"""Languages of blocks, and whether a block of a page is checked."""

SHOWN = {
    "docs/explanation/architecture.md": "diagrams",
    "docs/how-to/monitor.md": "outputs: test_output_has_the_titles_of_the_page",
    "docs/tutorial/first-task.md": "outputs: tests/docs/test_first_task.py",
}
"""Pages with text that is no code."""


@pytest.mark.parametrize("page", pages(), ids=name)
def test_each_block_is_checked(page):
    assert [b for b in blocks_of(page) if b.language not in CHECKED or not CHECKED[b.language](name(page), b)] == []


def test_exceptions_are_needed():
    assert [each for each in NOT_EXECUTED if not any(line.startswith(each) for line in commands())] == []
    assert [page for page in OTHER_TESTS if not blocks_of(REPOSITORY / page, "shell", "text")] == []
    assert [page for page in SHOWN if not blocks_of(REPOSITORY / page, "text")] == []
