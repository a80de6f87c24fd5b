"""A cluster does the same with each start method, however the project sets Django up."""

from __future__ import annotations

import subprocess
import sys
import textwrap
from importlib.util import find_spec
from pathlib import Path

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
            "root": {"handlers": ["console"], "level": "INFO"},
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
    made.append("SILENCED_SYSTEM_CHECKS = ['django_q.W006']  # of the options of SQLite; the command prints it")
    if kind == "errors only":
        assert made.run_once() == ""
    else:
        lines = made.run(until=ROLES).splitlines()
        assert all(line.startswith("own INFO django-q ") for line in lines), lines


MACOS = """
    import errno, os, signal, socket, sys, sysconfig, types

    sysconfig.get_config_vars()  # read from a file with the platform in its name
    for name in dir(os):
        if name.startswith(("memfd_", "MFD_", "pidfd_", "eventfd", "sched_", "waitid", "P_PID", "WNOWAIT")):
            delattr(os, name)
    sys.platform = "darwin"
    sys.modules["_scproxy"] = types.ModuleType("_scproxy")
    sys.modules["_scproxy"]._get_proxies = sys.modules["_scproxy"]._get_proxy_settings = dict

    def set_option(self, level, option, *value, real=socket.socket.setsockopt):
        if option in (socket.SO_SNDBUF, socket.SO_RCVBUF):
            raise OSError(errno.ENOBUFS, "No buffer space available")
        real(self, level, option, *value)

    def send(self, parts, rights=(), flags=0, real=socket.socket.sendmsg):
        if self.type == socket.SOCK_DGRAM and sum(map(len, parts)) > 2048:
            raise OSError(errno.EMSGSIZE, "Message too long")
        try:
            return real(self, parts, rights, flags)
        except BlockingIOError as error:
            raise OSError(errno.ENOBUFS, "No buffer space available") from error

    def pair(family=socket.AF_UNIX, kind=socket.SOCK_STREAM, proto=0, real=socket.socketpair):
        if kind == socket.SOCK_SEQPACKET:
            raise OSError(errno.EPROTONOSUPPORT, "Protocol not supported")
        return real(family, kind, proto)

    socket.socket.setsockopt, socket.socket.sendmsg, socket.socketpair = set_option, send, pair
"""
"""A `sitecustomize` that takes from Python on Linux what macOS does not have."""


def test_cluster_does_without_what_only_linux_has(make_site):
    """With small datagram sockets between its processes, which are spawned."""
    site = make_site("sqlite", workers=2)
    (site.folder / "sitecustomize.py").write_text(textwrap.dedent(MACOS))
    with (site.folder / "jobs.py").open("a") as file:
        file.write("def size(text):\n    return text\n")
    site.environment.pop("DJANGO_Q_START_METHOD", None)
    with site.cluster() as cluster:
        sizes = [0, 100, 400, 600, 1000, 1500, 2000, 3000, 5000, 20_000, 300_000]
        code = f"""
            from django_q.tasks import async_task, result
            ids = [async_task("jobs.size", "x" * size) for size in {sizes!r}]
            ids.append(async_task("jobs.suicide", "dies", "kill", ack_failure=True))
            answer = ids
        """
        *ids, suicide = site.run(code)
        done = """
            from django_q.models import Task
            answer = {task.id: len(task.result) if task.success else task.result for task in Task.objects.all()}
        """
        eventually(lambda: len(site.run(done)) == len(ids) + 1, within=30, why=lambda: cluster.log)
        results = site.run(done)
        assert [results[task_id] for task_id in ids] == sizes
        assert "SIGKILL" in results[suicide]
        assert cluster.stop() == 0
        assert "Traceback" not in cluster.log


@pytest.mark.parametrize("method", ["spawn", "forkserver"])
def test_suite_starts_clusters_with_the_method_of_its_variable(make_site, monkeypatch, method):
    monkeypatch.setattr("tests.acceptance.site.START_METHOD", method)
    found = "from django_q.settings import current_settings; answer = current_settings().start_method"
    assert make_site("sqlite").run(found) == method


def test_suite_runs_with_each_start_method_every_night():
    nightly = (Path(__file__).parents[2] / ".github/workflows/nightly.yml").read_text()
    job = nightly.partition("  start-methods:")[2].partition("\n\n")[0]
    for part in ("[forkserver, spawn]", "DJANGO_Q_START_METHOD: ${{ matrix.method }}", " tests/acceptance"):
        assert part in job
