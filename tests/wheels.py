"""Checks that each wheel in `dist` is complete, and works alone in a clean environment.

The commands of the pages that install something are executed as printed, and find these wheels.
"""

from __future__ import annotations

import os
import re
import subprocess
import sys
import tempfile
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from zipfile import ZipFile

ROOT = Path(__file__).parent.parent
DIST = ROOT / "dist"
sys.path.insert(0, str(ROOT))

from tests.docs.pages import commands_of, pages  # noqa: E402

# uv caches wheels by path and version. Without --refresh-package, it would install the core of an earlier build.
INSTALL = ("uv", "pip", "install", "-q", "--refresh-package", "django-q-core")

PROBE = """
import importlib, sys
from importlib.metadata import distribution, entry_points

name, module = sys.argv[1:]
package = importlib.import_module(module)
about = importlib.import_module(f"{module}.__about__")
assert about.__version__ == distribution(name).version, "two versions"

import django
from django.conf import settings
from django.core.management import call_command

apps = ["django.contrib.contenttypes", "django_q"]
database = {"ENGINE": "django.db.backends.sqlite3", "NAME": ":memory:"}
apps += [module] if importlib.util.find_spec(f"{module}.models") and module != "django_q" else []
brokers = [each.value.replace(":", ".") for each in entry_points(group="djangoq.brokers")]
cluster = {"broker_class": (brokers or ["django_q.brokers.memory.MemoryBroker"])[0], "name": "alone"}
settings.configure(
    DATABASES={"default": database}, INSTALLED_APPS=apps, Q_CLUSTER=cluster, SECRET_KEY="x" * 50, USE_TZ=True
)
django.setup()
call_command("check", fail_level="ERROR")
call_command("migrate", verbosity=0)
for group in ("djangoq.brokers", "djangoq.errorreporters"):
    for entry_point in entry_points(group=group):
        entry_point.load()
"""


def main() -> int:
    """Check all wheels; print a line for each."""
    wheels = sorted(DIST.glob("*.whl"))
    with ThreadPoolExecutor(max_workers=os.cpu_count()) as pool:
        installed = pool.submit(check_pages)
        verdicts = list(pool.map(check, wheels))
    sys.stdout.write(f"pages: {installed.result() or 'their commands install'}\n")
    for wheel, verdict in zip(wheels, verdicts, strict=True):
        sys.stdout.write(f"{wheel.name}: {verdict or 'installs and imports alone'}\n")
    return 0 if wheels and not any(verdicts) and not installed.result() else 1


def check_pages() -> str:
    """Return the mistakes of the pages: commands of pip that fail, one after the other in one environment."""
    with tempfile.TemporaryDirectory() as folder:
        mistake = run("uv", "venv", "-q", "--seed", "--python", sys.executable, f"{folder}/venv", cwd=folder)
        path = os.pathsep.join([f"{folder}/venv/bin", os.environ["PATH"]])
        found = {"PATH": path, "PIP_FIND_LINKS": str(DIST), "PIP_NO_COMPILE": "1", "PIP_QUIET": "1"}
        commands = [command for command in commands_of(pages()) if re.match(r"pip .*django-q", command)]
        return mistake or next(filter(None, (run("bash", "-c", each, cwd=str(ROOT), **found) for each in commands)), "")


def check(wheel: Path) -> str:
    """Return the mistakes of a wheel."""
    files = ZipFile(wheel).namelist()
    distribution = wheel.name.split("-")[0].replace("_", "-")
    module = next(file.split("/")[0] for file in files if file.endswith("/py.typed"))
    if not any(file.endswith("/licenses/LICENSE") for file in files):
        return "no LICENSE"
    if missing := catalogues_of(distribution) - {*files}:
        return f"no {', '.join(sorted(missing))}"
    if outside := {file.split("/")[0] for file in files} - {module, f"{wheel.name.rsplit('-', 3)[0]}.dist-info"}:
        return f"files of others: {', '.join(sorted(outside))}"
    if not (DIST / f"{wheel.name.rsplit('-', 3)[0]}.tar.gz").exists():
        return "no sdist"
    with tempfile.TemporaryDirectory() as folder:
        python = Path(folder) / "venv/bin/python"
        return (
            run("uv", "venv", "-q", "--python", sys.executable, f"{folder}/venv", cwd=folder)
            or run(*INSTALL, "--find-links", DIST, "--python", python, wheel, cwd=folder)
            or run("uv", "pip", "check", "-q", "--python", python, cwd=folder)
            or run(python, "-c", PROBE, distribution, module, cwd=folder)
        )


def catalogues_of(distribution: str) -> set[str]:
    """Return the paths in a wheel of the compiled catalogues: one for each catalogue of the distribution's sources."""
    source = DIST.parent / "packages" / distribution / "src"
    return {path.with_suffix(".mo").relative_to(source).as_posix() for path in source.glob("*/locale/*/*/*.po")}


def run(*command: str | Path, cwd: str, **variables: str) -> str:
    """Return the output of a failed command."""
    environment = {
        key: value for key, value in os.environ.items() if not key.startswith(("DJANGO", "PYTHON"))
    } | variables
    done = subprocess.run(command, capture_output=True, check=False, cwd=cwd, env=environment, text=True)
    return "" if done.returncode == 0 else f"{' '.join(map(str, command[:4]))} failed:\n{done.stdout}{done.stderr}"


if __name__ == "__main__":
    sys.exit(main())
