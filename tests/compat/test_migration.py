"""Sites of the public editions move to ours and back, with their published wheels and ours."""

from __future__ import annotations

import fcntl
import json
import os
import signal
import subprocess
from collections import Counter
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING, Any

import pytest

from tests.acceptance.site import BYTECODE, eventually
from tests.compat.conftest import install
from tests.compat.editions import DJANGO_Q, DJANGO_Q2, THEIRS, Edition
from tests.services import Unavailable
from tests.services.environment import build_wheel, fresh_environment, project_environment
from tests.services.fixtures import missing

if TYPE_CHECKING:
    from collections.abc import Iterator

pytestmark = pytest.mark.compat

PACKAGES = Path(__file__).parent.parent.parent / "packages"
WHEELS = ("django-q-core", "django-q-orm", "django-q-redis")
MOVING = THEIRS / "moving"
HOUR_SECONDS, DAY_SECONDS = 3600, 86_400

QUEUED = ["number", "hooked", "limited", "cached", "failing", "member 1", "member 2", "link 1", "link 2"]
DUE = ["schedule hourly", "schedule once", "schedule twice"]


@pytest.fixture(scope="session")
def ours(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The Python of an environment with our wheels."""
    base = tmp_path_factory.getbasetemp()
    base = base.parent if os.environ.get("PYTEST_XDIST_WORKER") else base
    folder, done = base / "our-wheels", base / "our-wheels.done"
    with (base / "our-wheels.lock").open("w") as lock:  # processes that run tests share it
        fcntl.flock(lock, fcntl.LOCK_EX)
        try:
            if not done.exists():
                wheels = [build_wheel(PACKAGES / name, base / "our-dist") for name in WHEELS]
                fresh_environment(folder, *map(str, wheels), "psycopg[binary]", "Django>=5.2,<6")
                done.touch()
        except Unavailable as error:
            missing("our wheels", error)
    return folder / "bin" / "python"


class Site:
    """A site whose edition is chosen for each command by the Python that runs it."""

    def __init__(self, folder: Path, broker: dict[str, Any], database: dict[str, Any]) -> None:
        self.notes_file = folder / "notes"
        self.folder = folder
        self.environment = project_environment() | {
            "DJANGO_SETTINGS_MODULE": "moving_settings",
            "MOVING_BROKER": json.dumps(broker),
            "MOVING_CACHE": str(folder / "cache"),
            "MOVING_DATABASE": json.dumps(database),
            "MOVING_NOTES": str(self.notes_file),
            "PYTHONPATH": str(MOVING),
            "PYTHONWARNINGS": "ignore",
            "PYTHONPYCACHEPREFIX": str(BYTECODE),
        }

    def do(self, python: Path, command: str, *arguments: str) -> Any:
        """Run a command of moving.py, and return its answer."""
        return json.loads(self._run(python, str(MOVING / "moving.py"), command, *arguments).splitlines()[-1])

    def manage(self, python: Path, *arguments: str) -> None:
        """Run a command of Django."""
        self._run(python, "-m", "django", *arguments)

    def _run(self, python: Path, *arguments: str) -> str:
        done = subprocess.run(
            [python, *arguments],
            env=self.environment, cwd=self.folder, capture_output=True, text=True, check=False, timeout=60,
        )  # fmt: skip
        assert done.returncode == 0, done.stdout[-1000:] + done.stderr[-4000:]
        return done.stdout

    def notes(self) -> Counter[str]:
        """Return how many times each task has run."""
        return Counter(self.notes_file.read_text().splitlines() if self.notes_file.exists() else [])

    def forget(self) -> None:
        """Delete the notes."""
        self.notes_file.unlink(missing_ok=True)

    @contextmanager
    def cluster(self, python: Path) -> Iterator[subprocess.Popen[bytes]]:
        """Run a cluster, and stop it as an operator would."""
        log_file = self.folder / f"cluster{len(list(self.folder.glob('cluster*')))}.log"
        with log_file.open("wb") as log:
            process = subprocess.Popen(
                [python, "-m", "django", "qcluster"],
                env=self.environment, cwd=self.folder, stdout=log, stderr=log, start_new_session=True,
            )  # fmt: skip
        try:
            eventually(lambda: " running." in log_file.read_text(), within=20, why=log_file.read_text)
            yield process
        finally:
            stop(process)
            os.write(1, log_file.read_bytes())  # pytest shows it if the test fails


def stop(process: subprocess.Popen[bytes]) -> None:
    """Stop a cluster; kill it if it does not stop."""
    process.send_signal(signal.SIGINT)
    try:
        process.wait(30)
    except subprocess.TimeoutExpired:
        os.killpg(process.pid, signal.SIGKILL)
        process.wait(10)


@pytest.fixture(params=["redis", "orm"])
def site(request: pytest.FixtureRequest, tmp_path: Path) -> Site:
    """A site with results on PostgreSQL, on each of two brokers."""
    server = request.getfixturevalue("postgres_server")
    server.start()
    broker = {"redis": request.getfixturevalue("redis_url")} if request.param == "redis" else {"orm": "default"}
    return Site(tmp_path, broker, server.fresh_database())


@pytest.fixture(params=[DJANGO_Q, DJANGO_Q2], ids=lambda edition: edition.label)
def theirs(request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory) -> tuple[Edition, Path]:
    """A public edition, and its Python."""
    return request.param, install(request.param, tmp_path_factory).python


def labels(word: str, number: int) -> list[str]:
    """Return labels of tasks."""
    return [f"{word} {n}" for n in range(number)]


def test_site_moves_with_its_queue_schedules_and_history(site: Site, theirs: tuple[Edition, Path], ours: Path) -> None:
    _, python = theirs
    made = site.do(python, "before")
    assert site.notes() == Counter(["old 1", "old 2", "link 0", "member 0"])
    old = site.do(python, "show")
    assert old["queued"] == len(QUEUED) - 1  # link 2 comes from link 1
    site.forget()

    site.manage(ours, "migrate", "-v0")
    wanted = Counter([*QUEUED, *DUE, "hook of hooked"])
    with site.cluster(ours):
        eventually(lambda: site.notes() >= wanted, within=20, why=site.notes)
        # `batch_timeout` completes the iter, one of whose members the old cluster has executed.
        eventually(lambda: site.do(ours, "results", made["iter"]) != [None], within=20)
        eventually(lambda: site.do(ours, "show")["queued"] == 0, within=10)
    assert site.notes() == wanted, "each waiting task runs once"

    new = site.do(ours, "show")
    assert {key: new["tasks"].get(key) for key in old["tasks"]} == old["tasks"]
    names = {name: [success, group] for name, success, _, group in new["tasks"].values()}
    assert names["12"] == [True, "7"]
    assert names["new failure"][0] is False
    assert site.do(ours, "results", *made["tasks"][:3]) == ["number", "hooked", "limited"]
    assert site.do(ours, "cached_results", made["tasks"][3]) == ["cached"]
    [members] = site.do(ours, "results", made["iter"])
    assert {"member 1", "member 2"} <= set(members)
    assert sorted(task[2] for task in new["tasks"].values() if task[3] == "a chain") == labels("link", 3)

    was, now = old["schedules"], new["schedules"]
    assert "once" not in now
    assert now["hourly"][0] == was["hourly"][0] + HOUR_SECONDS
    assert now["twice"] == [was["twice"][0] + DAY_SECONDS, 1]
    assert {name: now[name][0] for name in ("daily", "cron")} == {name: was[name][0] for name in ("daily", "cron")}


def test_admin_shows_the_history(site: Site, theirs: tuple[Edition, Path], ours: Path) -> None:
    _, python = theirs
    made = site.do(python, "before")
    [old] = [key for key, task in site.do(python, "show")["tasks"].items() if task[0] == "old success"]
    site.manage(ours, "migrate", "-v0")
    paths = ["success/", "failure/", "schedule/", f"success/{old}/change/"]
    found = [text for status, text in site.do(ours, "pages", *(f"django_q/{path}" for path in paths)) if status == 200]
    assert len(found) == len(paths)
    assert "old success" in found[0]
    assert "old failure" in found[1]
    assert all(name in found[2] for name in ("hourly", "once", "twice", "daily", "cron"))
    assert "old 1" in found[3]
    if "orm" in site.environment["MOVING_BROKER"]:
        [[status, queue]] = site.do(ours, "pages", "django_q_orm/ormq/")
        assert status == 200
        assert all(task_id in queue for task_id in made["tasks"])


def test_site_goes_back(site: Site, ours: Path, tmp_path_factory: pytest.TempPathFactory) -> None:
    python = install(DJANGO_Q2, tmp_path_factory).python
    site.do(python, "before")
    site.manage(ours, "migrate", "-v0")
    with site.cluster(ours):
        eventually(lambda: site.notes() >= Counter([*QUEUED, *DUE]), within=20, why=site.notes)
    site.forget()
    ids = site.do(ours, "send", *labels("ours", 5))
    site.manage(python, "migrate", "-v0")
    ids += site.do(python, "send", *labels("theirs", 5))
    before = site.do(python, "show")
    with site.cluster(python):
        eventually(lambda: len(site.notes()) == 10, within=30, why=site.notes)
        eventually(lambda: None not in site.do(python, "results", *ids), within=30)
    assert set(site.notes().values()) == {1}
    after = site.do(python, "show")
    assert {key: after["tasks"][key] for key in before["tasks"]} == before["tasks"]
    assert after["schedules"].keys() == before["schedules"].keys()
    [[status, text]] = site.do(python, "pages", "django_q/success/")
    assert status == 200
    assert "old success" in text
    site.manage(ours, "migrate", "-v0")
    assert site.do(ours, "results", *ids) == [*labels("ours", 5), *labels("theirs", 5)]


@pytest.mark.parametrize("site", ["redis"], indirect=True)  # the database broker has its own table for statistics
def test_only_new_processes_read_results_and_statistics_of_both(
    site: Site, theirs: tuple[Edition, Path], ours: Path
) -> None:
    """Web processes are restarted before the clusters."""
    _, python = theirs
    site.do(python, "before")
    site.manage(ours, "migrate", "-v0")
    wanted = ["a", "b", ["iter a", "iter b"]]
    with site.cluster(python):
        ids = site.do(python, "send_cached", "a", "b")
        eventually(lambda: site.do(ours, "cached_results", *ids) == wanted, within=30)
        eventually(lambda: site.do(ours, "cached_group") == ["group a", "group b"], within=20)
        eventually(lambda: site.do(ours, "clusters") == site.do(python, "clusters") != [], within=20)
    with site.cluster(ours):
        ids = site.do(ours, "send_cached", "a", "b")
        eventually(lambda: site.do(ours, "cached_results", *ids) == wanted, within=30)
        eventually(lambda: len(site.do(ours, "clusters")) == 1, within=20)
        for task_id in ids:
            with pytest.raises(AssertionError, match="BadSignature"):
                site.do(python, "cached_results", task_id)
        assert site.do(python, "clusters") == []


def test_rolling_upgrade_loses_no_task(site: Site, theirs: tuple[Edition, Path], ours: Path) -> None:
    edition, python = theirs
    site.do(python, "before")
    with site.cluster(python) as old:
        site.do(python, "send", *labels("first", 20))
        site.manage(ours, "migrate", "-v0")
        site.do(python, "send", *labels("second", 20))
        with site.cluster(ours):
            site.do(ours, "send", *labels("third", 20))
            site.do(python, "send", *labels("fourth", 20))
            stop(old)
            site.do(python, "send", *labels("fifth", 20))  # a web process that was not restarted yet
            sent = [f"{word} {n}" for word in ("first", "second", "third", "fourth", "fifth") for n in range(20)]
            wanted = Counter([*QUEUED, *DUE, *sent])
            eventually(lambda: site.notes() >= wanted, within=90, why=lambda: wanted - site.notes())
            eventually(lambda: site.do(ours, "show")["queued"] == 0, within=60)
    repeated = [label for label, times in site.notes().items() if label in wanted and times > 1]
    if edition is DJANGO_Q2 or "redis" in site.environment["MOVING_BROKER"]:  # the page on switching has the reason
        assert repeated == []
