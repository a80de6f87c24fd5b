"""A process that is not forked sets Django up like its parent, before it imports the modules of the cluster."""

from __future__ import annotations

import os
import pickle
import subprocess
import sys

import pytest
from django.conf import settings
from django_q.cluster.django_setup import DjangoSetup, settings_module
from django_q.cluster.launch import Launch
from django_q.exceptions import ConfigurationError

IMPORTER = """
from importlib.util import spec_from_file_location
from pathlib import Path
import sys

class Importer:
    def find_spec(self, name, path=None, target=None):
        if name == "nowhere":
            return spec_from_file_location(name, Path(__file__).with_name("somewhere.py"))
"""

INSTALL = """
def install():
    sys.meta_path.insert(0, Importer())
"""

PARENT = """
import os, pickle, sys, logging
{preparation}
from django_q.cluster.launch import Launch
print(settings.SECRET_KEY, file=sys.stderr)
sys.stdout.buffer.write(pickle.dumps(Launch(print, "called")))
"""

CHILD = """
import pickle, sys
launch = pickle.load(sys.stdin.buffer)
assert "django_q.conf" not in sys.modules, "our modules are imported before Django is set up"
launch()
from django.conf import settings
print(settings.SECRET_KEY)
"""


@pytest.fixture
def in_child(tmp_path):
    """Return a function that launches code in a child process and returns its output."""
    environment = {name: value for name, value in os.environ.items() if name != "DJANGO_SETTINGS_MODULE"}
    environment["PYTHONPATH"] = os.pathsep.join([str(tmp_path), *sys.path])

    def run(code: str, stdin: bytes = b"") -> bytes:
        done = subprocess.run(
            [sys.executable, "-c", code], input=stdin, env=environment, cwd=tmp_path, capture_output=True, check=False
        )
        assert done.returncode == 0, done.stderr.decode()
        return done.stdout

    return lambda preparation: run(CHILD, run(PARENT.format(preparation=preparation))).decode().splitlines()


@pytest.mark.parametrize("module", [IMPORTER, IMPORTER + INSTALL])
def test_importer_of_the_settings_module_is_installed(in_child, tmp_path, module):
    (tmp_path / "importer.py").write_text(module)
    (tmp_path / "somewhere.py").write_text("SECRET_KEY = 'imported'")
    preparation = "import importer; sys.meta_path.insert(0, importer.Importer())\n"
    preparation += "os.environ['DJANGO_SETTINGS_MODULE'] = 'nowhere'\nfrom django.conf import settings"
    assert in_child(preparation) == ["called", "imported"]


CONFIGURED = "from django.conf import settings; settings.configure(SECRET_KEY='passed on')"

MADE = """
import types
sys.modules["made"] = types.ModuleType("made")
sys.modules["made"].SECRET_KEY = "passed on"
os.environ["DJANGO_SETTINGS_MODULE"] = "made"
from django.conf import settings
"""


@pytest.mark.parametrize("preparation", [CONFIGURED, MADE])
def test_settings_without_a_module_to_import_are_passed_on(in_child, preparation):
    assert in_child(preparation) == ["called", "passed on"]


def test_setting_that_cannot_be_pickled_is_named(in_child):
    with pytest.raises(AssertionError, match=r"ImproperlyConfigured: The settings LOGGING cannot be pickled"):
        in_child("from django.conf import settings; settings.configure(SECRET_KEY='x', LOGGING={'a': lambda: 1})")


def test_setting_that_cannot_be_pickled_comes_from_the_module(in_child, tmp_path):
    (tmp_path / "somewhere.py").write_text("SECRET_KEY, FUNCTION = 'imported', lambda: 1")
    preparation = "os.environ['DJANGO_SETTINGS_MODULE'] = 'somewhere'\nfrom django.conf import settings\n"
    preparation += "from django.test import override_settings; override_settings(SECRET_KEY='overridden').enable()"
    assert in_child(preparation) == ["called", "overridden"]


def test_settings_module_is_imported_again_not_copied():
    assert settings_module() == settings.SETTINGS_MODULE == "tests.settings"
    assert DjangoSetup.of_this_process({}).values is None


def test_unpicklable_argument_is_an_error_of_the_configuration():
    with pytest.raises(ConfigurationError, match=r"cannot be pickled.*start_method"):
        pickle.dumps(Launch(print, lambda: 1))


def test_fork_calls_the_function_itself():
    called = []
    Launch(called.append, 1)()
    assert called == [1]
