"""A cluster does the same with each start method, however the project sets Django up."""

from __future__ import annotations

import subprocess
import sys
import textwrap
from importlib.util import find_spec

import pytest

from .site import eventually

ROLES = ["guarding cluster", "ready for work", "monitoring at", "pushing tasks at", "scheduling at"]
"""Parts of the lines with which the processes of a cluster start."""

MANAGE = """
    import os, sys

    if __name__ == "__main__":
        {preparation}
        from django.core.management import execute_from_command_line
        execute_from_command_line(sys.argv)
"""


@pytest.fixture
def project(make_site):
    """A project with a `manage.py`, whose settings are named nowhere else."""

    class Project:
        def __init__(self, preparation: str = "", **q_cluster: object) -> None:
            self.site = make_site("sqlite", workers=1, **q_cluster)
            self.site.environment.pop("DJANGO_SETTINGS_MODULE")
            self.write("manage.py", MANAGE.format(preparation=preparation))

        def write(self, name: str, text: str) -> None:
            (self.site.folder / name).write_text(textwrap.dedent(text))

        def append(self, text: str) -> None:
            with (self.site.folder / "site_settings.py").open("a") as file:
                file.write(textwrap.dedent(text))

        def run_once(self) -> str:
            return self.run("--run-once", until=[])

        def run(self, *arguments: str, until: list[str]) -> str:
            """Run a cluster until its log has all these parts; return the log."""
            command, log = [sys.executable, "manage.py", "qcluster", *arguments], self.site.folder / "log"
            with log.open("wb") as out, subprocess.Popen(
                command, cwd=self.site.folder, env=self.site.environment, stdout=out, stderr=out
            ) as process:  # fmt: skip
                try:
                    eventually(lambda: all(part in log.read_text() for part in until) or process.poll() is not None)
                    if until:
                        process.terminate()
                    assert process.wait(60) == 0, log.read_text()
                finally:
                    process.kill()
            return log.read_text()

    return Project


def test_settings_module_named_by_manage_py_is_found(project):
    """With variables that only `manage.py` sets, as it does that reads an `.env` file."""
    preparation = "os.environ.update(DJANGO_SETTINGS_MODULE='site_settings', SITE_KEY='from .env')"
    made = project(preparation, start_method="forkserver")
    made.append("import os\nSECRET_KEY = os.environ['SITE_KEY']\n")
    assert "Traceback" not in made.run(until=ROLES)


def test_settings_that_manage_py_configures_are_passed_on(project):
    preparation = """
        from django.conf import settings
        import site_settings
        settings.configure(**{name: value for name, value in vars(site_settings).items() if name.isupper()})
    """
    made = project(textwrap.indent(textwrap.dedent(preparation).strip(), " " * 8).strip(), start_method="spawn")
    assert "Traceback" not in made.run(until=ROLES)


@pytest.mark.skipif(find_spec("configurations") is None, reason="django-configurations is not installed")
def test_django_configurations_works(project):
    made = project(start_method="spawn")
    made.write(
        "manage.py",
        """
        if __name__ == "__main__":
            import os, sys
            os.environ.update(DJANGO_SETTINGS_MODULE="classes", DJANGO_CONFIGURATION="Dev")
            from configurations.management import execute_from_command_line
            execute_from_command_line(sys.argv)
        """,
    )
    made.write(
        "classes.py",
        """
        import site_settings
        from configurations import Configuration, values

        class Dev(Configuration):
            locals().update({name: value for name, value in vars(site_settings).items() if name.isupper()})
            SECRET_KEY = values.Value("dev")
        """,
    )
    assert "Traceback" not in made.run(until=ROLES)


LOGGINGS = {
    "own": """
        LOGGING = {
            "version": 1,
            "formatters": {"own": {"format": "own %(levelname)s %(name)s %(message)s"}},
            "handlers": {"console": {"class": "logging.StreamHandler", "formatter": "own"}},
            "loggers": {"django-q": {"handlers": ["console"], "level": "INFO"}},
        }
    """,
    "callable": """
        LOGGING_CONFIG = "logs.configure"
        LOGGING = {"prefix": "own"}
    """,
    "errors only": """
        import logging.config
        LOGGING_CONFIG = None
        logging.config.dictConfig({
            "version": 1,
            "formatters": {"own": {"format": "own %(levelname)s %(name)s %(message)s"}},
            "handlers": {"console": {"class": "logging.StreamHandler", "formatter": "own"}},
            "root": {"handlers": ["console"], "level": "ERROR"},
        })
    """,
}

LOGS = """
    import logging.config

    def configure(options):
        logging.config.dictConfig({
            "version": 1,
            "formatters": {"own": {"format": options["prefix"] + " %(levelname)s %(name)s %(message)s"}},
            "handlers": {"console": {"class": "logging.StreamHandler", "formatter": "own"}},
            "root": {"handlers": ["console"], "level": "INFO"},
        })
"""


@pytest.mark.parametrize(
    ("method", "kind"), [("spawn", "own"), ("forkserver", "own"), ("spawn", "callable"), ("spawn", "errors only")]
)
def test_logging_of_the_site_reaches_each_process(project, method, kind):
    """Though a configuration disables the loggers that exist before, unless it says otherwise."""
    made = project("os.environ['DJANGO_SETTINGS_MODULE'] = 'site_settings'", start_method=method)
    made.write("logs.py", LOGS)
    made.append(LOGGINGS[kind])
    if kind == "errors only":
        assert made.run_once() == ""
    else:
        lines = made.run(until=ROLES).splitlines()
        assert all(line.startswith("own INFO django-q ") for line in lines), lines
