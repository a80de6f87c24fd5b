"""Guarantees of the tests' site to the tests."""

from __future__ import annotations

import os
import subprocess
import time

import pytest

from . import shell
from .shell import ShellEndedError
from .site import Site, eventually, lives


@pytest.fixture
def site(tmp_path):
    site = Site(tmp_path, {"name": "site", "orm": "default"}, None, ("django_q_orm",))
    yield site
    site.close()


def test_snippets_share_one_shell_and_nothing_else(site):
    code = "import os, jobs; jobs.left = getattr(jobs, 'left', 0) + 1; answer = [os.getppid(), os.getpid(), jobs.left]"
    first, second = site.run(code), site.run(code)
    assert first[0] == second[0] == site.shells[0].process.pid
    assert first[1] != second[1]
    assert first[2] == second[2] == 1


def test_changed_settings_code_and_environment_are_seen(site):
    code = "import os, jobs; from django.conf import settings; answer = [settings.SECRET_KEY, os.environ.get('MINE')]"
    assert site.run(code) == ["acceptance", None]
    settings = site.folder / "site_settings.py"
    settings.write_text(settings.read_text().replace('"acceptance"', '"other"'))
    assert site.run(code) == ["other", None]
    site.environment["MINE"] = "yes"
    assert site.run(code) == ["other", "yes"]
    (site.folder / "jobs.py").write_text("number = 7")
    assert site.run("import jobs; answer = jobs.number") == 7


@pytest.mark.parametrize(
    ("code", "sentence"),
    [
        ("1 / 0", "ZeroDivisionError"),
        ("sys.exit(3)", "status 3"),
        ("import os; os._exit(4)", "status 4"),
        ("import os; os._exit(0)", "before its last line"),
        ("import os, signal; os.kill(os.getpid(), signal.SIGKILL)", "status -9"),
    ],
)
def test_snippet_that_fails_or_dies_leaves_the_shell_usable(site, code, sentence):
    shell = site.run("import os; answer = os.getppid()")
    with pytest.raises(AssertionError, match=sentence):
        site.run(code)
    assert site.run("import os; answer = os.getppid()") == shell


def test_shell_that_is_killed_is_replaced(site):
    with pytest.raises(ShellEndedError, match="status -9"):
        site.run("import os, signal, time; os.kill(os.getppid(), signal.SIGKILL); time.sleep(1)")
    assert site.run("answer = 1") == 1


def test_shell_that_cannot_start_says_why(site):
    with (site.folder / "site_settings.py").open("a") as settings:
        settings.write("raise RuntimeError('no settings today')\n")
    with pytest.raises(AssertionError, match="no settings today"):
        site.run("answer = 1")


def test_snippet_that_takes_too_long_is_killed(site, monkeypatch):
    pid = site.run("import os; answer = os.getppid()")
    monkeypatch.setattr(shell, "SNIPPET_SECONDS", 1)
    with pytest.raises(subprocess.TimeoutExpired):
        site.run("import os, time; print(os.getpid(), flush=True); time.sleep(60)")
    assert not lives(pid)
    monkeypatch.undo()
    assert site.run("answer = 1") == 1


def test_shell_ends_with_its_site(site, tmp_path):
    pid = site.run("import os; answer = os.getppid()")
    site.close()
    eventually(lambda: not lives(pid))
    folder = tmp_path / "forgotten"
    folder.mkdir()
    forgotten = Site(folder, {"name": "site", "orm": "default"}, None, ("django_q_orm",))
    pid = forgotten.run("import os; answer = os.getppid()")
    del forgotten
    eventually(lambda: not lives(pid))


def test_process_that_a_snippet_leaves_outlives_it(site):
    began = time.monotonic()
    pid = site.run("import subprocess; answer = subprocess.Popen(['sleep', '60']).pid")
    site.close()
    assert time.monotonic() - began < 50
    assert lives(pid)
    os.kill(pid, 9)


@pytest.mark.parametrize("arguments", [("diffsettings",), ("check", "--tag", "unknown")])
def test_forked_command_answers_as_a_process_does(site, arguments):
    started = site.manage(*arguments, check=False)
    for _ in range(2):
        forked = site.command(*arguments)
        assert (forked.returncode, forked.stdout, forked.stderr) == (started.returncode, started.stdout, started.stderr)


def test_shell_starts_as_python_does(site):
    (site.folder / "sitecustomize.py").write_text("import sys; sys.mine = 'mine'")
    site.environment["MINE"] = "yes"
    code = "import os; answer = [sys.mine, os.environ['MINE'], os.getcwd(), sys.path[0], os.getpgid(os.getppid())]"
    answer = site.run(code)
    assert answer == ["mine", "yes", str(site.folder), str(site.folder), site.shells[0].process.pid]
