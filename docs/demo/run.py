"""The demo: a cluster measures every module of Python's standard library, one task a file.

python run.py                run the demo and stop, in less than a minute
python run.py serve [port]   keep the cluster and the admin running until Ctrl-C
"""

from __future__ import annotations

import argparse
import os
import platform
import secrets
import signal
import socket
import sys
import time
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import TYPE_CHECKING, Any

sys.dont_write_bytecode = True  # the demo leaves nothing behind

from janitor import STOP_SECONDS, Janitor  # noqa: E402
from library import LIBRARY, modules, shorter  # noqa: E402
from service import Service, ServiceDied  # noqa: E402
from terminal import Terminal  # noqa: E402

if TYPE_CHECKING:
    from types import FrameType

    from account import Account

GROUP = "standard library"
LOOK_EVERY = 0.1
"""Seconds between two checks of the progress."""
HELLO_SECONDS = 30.0
"""Time limit of the first task, which includes the start of the cluster."""
STALL_SECONDS = 20.0
"""Time without a finished task after which the demo fails."""


class DemoFailed(Exception):
    """The demo failed."""


class Interrupted(Exception):
    """The demo received a signal to stop."""


class Demo:
    """One run of the demo.

    Args:
        folder: folder for all files that the demo writes.
        port: port of the site, for `serve`; None for any free one.
    """

    def __init__(self, folder: Path, *, serve: bool, port: int | None) -> None:
        self.folder, self.serves, self.port = folder, serve, port
        self.terminal = Terminal()
        self.cluster: Service | None = None
        self.site: Service | None = None
        self.janitor = Janitor(folder)
        self.paths = modules()
        self.sent: dict[str, str] = {}
        self.done = 0
        self.began = self.looked = self.moved = self.seconds = 0.0

    def run(self) -> int:
        """Run the demo.

        Returns:
            The exit status: 0 when every task is accounted for and every process ended cleanly.
        """
        terminal = self.terminal
        try:
            return self._run()
        except Interrupted:
            terminal.bad("Interrupted: the cluster is told to stop.")
            return 130
        except ServiceDied as error:
            return self._give_up(error, error.service)
        except DemoFailed as error:
            return self._give_up(error, self.cluster)
        finally:
            self._clean_up()

    def _run(self) -> int:
        self._begin()
        self._hello()
        self._measure()
        self._report()
        self._fail()
        if not self.serves:
            self._stop()
            return self._judge()
        self._wait_for("an empty queue", lambda: None if self._account().waiting else True)
        self.terminal.say()
        status = self._judge()
        self._serve()
        self._stop()
        return status

    # the acts

    def _begin(self) -> None:
        from django_q.conf import Conf

        self.terminal.title(f"Django Q measures the standard library of Python {platform.python_version()}")
        if not self.paths:
            raise DemoFailed(f"There are no source files in {LIBRARY}.")
        migrate(self.folder)
        self.cluster = self._start("The cluster", "qcluster")
        self.terminal.say("  a new site, on SQLite and the database broker")
        self.terminal.say(f"  a cluster of {Conf.WORKERS} workers: manage.py qcluster, process {self.cluster.pid}")

    def _hello(self) -> None:
        """Send the first example of the manual; its result shows that the cluster runs."""
        from django_q.tasks import async_task, result

        task_id = async_task("math.copysign", 2, -2)
        answer = self._wait_for("its first result", lambda: result(task_id, wait=int(LOOK_EVERY * 1000)))
        self.terminal.say(f"  a first task: math.copysign(2, -2) is {answer}")
        self.terminal.say()

    def _measure(self) -> None:
        from django_q.tasks import async_task

        self.began = self.moved = time.monotonic()
        for path in self.paths:
            self.sent[async_task("demosite.tasks.measure", path, group=GROUP)] = path
            self._look()
        while self.done < len(self.paths):
            time.sleep(LOOK_EVERY / 5)
            self._look()
        self.seconds = self.moved - self.began

    def _look(self) -> None:
        from django_q.tasks import count_group

        now = time.monotonic()
        if now - self.looked < LOOK_EVERY:
            return
        self.looked = now
        self._check()
        done = count_group(GROUP)
        if done != self.done:
            self.done, self.moved = done, now
        elif now - self.moved > STALL_SECONDS:
            raise DemoFailed(f"Nothing was finished for {STALL_SECONDS:g} seconds.")
        if done:
            self.terminal.progress(done, len(self.paths), "files", done / (now - self.began or 1))

    def _report(self) -> None:
        found = self._account().measurements
        terminal = self.terminal
        terminal.title("What it found")
        terminal.facts(
            [
                ("files", f"{len(found):,}", "each a task of its own"),
                ("lines", f"{sum(each['lines'] for each in found):,}"),
                ("words", f"{sum(each['words'] for each in found):,}"),
                ("definitions", f"{sum(each['definitions'] for each in found):,}", "functions and classes"),
                ("seconds", f"{self.seconds:.1f}", "from the first task sent to the last result"),
                ("tasks a second", f"{len(found) / self.seconds:,.0f}"),
            ]
        )
        terminal.title("The slowest tasks")
        for each in sorted(found, key=lambda each: each["seconds"], reverse=True)[:5]:
            name = Path(each["path"]).relative_to(LIBRARY)
            terminal.say(f"  {each['seconds'] * 1000:>8.1f} ms  {each['lines']:>7,} lines  {name}")

    def _fail(self) -> None:
        """Send a task that fails, and show its failure."""
        from django_q.tasks import async_task, fetch

        missing = LIBRARY / "no_such_module.py"
        task_id = async_task("demosite.tasks.measure", str(missing))
        task = self._wait_for("the failure", lambda: fetch(task_id, wait=int(LOOK_EVERY * 1000)))
        self.terminal.title("A task that fails")
        if task.success:
            raise DemoFailed("The task that was to fail succeeded.")
        self.terminal.say(f"  {task.name}: attempt {task.attempt_count}, and what it left:")
        self.terminal.quote(shorter(task.result.partition(" : ")[2]))

    def _stop(self) -> None:
        if self.site is not None:
            self.site.stop(signal.SIGINT, STOP_SECONDS)
            self.site = None
        cluster = self.cluster
        assert cluster is not None
        self._check()
        began = time.monotonic()
        status = cluster.stop(signal.SIGTERM, STOP_SECONDS)
        if status is None:
            raise DemoFailed(f"The cluster did not stop within {STOP_SECONDS:g} seconds of SIGTERM and was killed.")
        if status:
            raise DemoFailed(f"The cluster did not stop cleanly: {cluster.how_it_ended()}.")
        self.terminal.say()
        self.terminal.good(f"The cluster stopped {time.monotonic() - began:.1f} s after SIGTERM, with exit status 0.")

    def _judge(self) -> int:
        account = self._account()
        if account.troubles():
            self._tell_troubles(account)
            self._show_log(self.cluster)
            return 1
        self.terminal.good(
            f"All accounted for: {len(account.sent):,} tasks sent, {account.runs.total():,} run, "
            f"{len(account.measurements):,} results."
        )
        self.terminal.say("  None lost, none twice.")
        return 0

    def _give_up(self, error: Exception, service: Service | None) -> int:
        self.terminal.bad(str(error))
        if self.sent:
            self._tell_troubles(self._account())
        self._show_log(service)
        return 1

    def _serve(self) -> None:
        from django.contrib.auth import get_user_model

        password = secrets.token_urlsafe(9)
        get_user_model().objects.create_superuser("demo", password=password)
        port = self.port or free_port()
        self.site = self._start("The site", "runserver", f"127.0.0.1:{port}", "--noreload", "--insecure")
        self._wait_for("the site", lambda: answers(port) or None)
        self.terminal.title("The site is up")
        self.terminal.say(f"  http://127.0.0.1:{port}/admin/")
        self.terminal.say(f"  log in as demo with the password {password}")
        self.terminal.say("  Ctrl-C stops the site and the cluster.")
        while not signals:
            self._check()
            time.sleep(LOOK_EVERY)
        signals.clear()
        self.terminal.say("\n  Stopping the site and the cluster.")

    # helps

    def _start(self, what: str, *arguments: str) -> Service:
        service = Service(what, self.folder, *arguments)
        self.janitor.watch(service.pid)
        return service

    def _account(self) -> Account:
        from account import Account

        return Account.of(self.paths, self.sent, GROUP)

    def _tell_troubles(self, account: Account) -> None:
        self.terminal.bad(f"Not all of {len(account.files):,} files are accounted for:")
        for trouble in account.troubles():
            self.terminal.item(shorter(trouble))
        for task in account.failed[:1]:
            self.terminal.quote(shorter(str(task.result)))

    def _check(self) -> None:
        if signals:
            raise Interrupted
        for service in (self.cluster, self.site):
            if service is not None:
                service.check()

    def _wait_for(self, what: str, ask: Any) -> Any:
        deadline = time.monotonic() + HELLO_SECONDS
        while (answer := ask()) is None:
            self._check()
            if time.monotonic() > deadline:
                raise DemoFailed(f"Waited {HELLO_SECONDS:g} seconds for {what}, and gave up.")
            time.sleep(LOOK_EVERY / 5)
        return answer

    def _show_log(self, service: Service | None) -> None:
        if service is not None:
            self.terminal.say(f"  The last that {service.what.lower()} wrote:")
            self.terminal.quote(service.log())

    def _clean_up(self) -> None:
        """Stop all processes."""
        for service, number in ((self.site, signal.SIGINT), (self.cluster, signal.SIGTERM)):
            if service is not None:
                service.stop(number, STOP_SECONDS)
        self.janitor.dismiss()


def migrate(folder: Path) -> None:
    """Create the tables of the site."""
    from django.core.management import call_command

    with (folder / "migrate.log").open("w") as log:
        call_command("migrate", stdout=log)


def free_port() -> int:
    """Return an unused port of this machine."""
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        port: int = probe.getsockname()[1]
        return port


def answers(port: int) -> bool:
    """Return True if a server listens on the port."""
    try:
        socket.create_connection(("127.0.0.1", port), timeout=1).close()
    except OSError:
        return False
    return True


SIGNALS = (signal.SIGINT, signal.SIGTERM, signal.SIGHUP)

signals: list[int] = []
"""Received signals. The demo checks them where it can stop."""


def note_signal(signum: int, frame: FrameType | None) -> None:
    """Record a signal. The demo ends later, when no process is being started and no result is being read."""
    signals.append(signum)


def set_up(folder: str) -> None:
    """Set up Django in this process."""
    import django

    os.environ.pop("Q_CLUSTER_NAME", None)
    os.environ.update(
        DEMO_FOLDER=folder,
        DEMO_SECRET_KEY=secrets.token_urlsafe(40),
        DJANGO_SETTINGS_MODULE="demosite.settings",
        PYTHONDONTWRITEBYTECODE="1",
    )
    django.setup()


def main() -> int:
    """Read the command line and run the demo."""
    parser = argparse.ArgumentParser(description="A cluster measures every module of Python's standard library.")
    commands = parser.add_subparsers(dest="command")
    serve = commands.add_parser("serve", help="keep the site and the cluster up afterwards, until Ctrl-C")
    serve.add_argument("port", nargs="?", type=int, help="where the site is; any that is free, if not given")
    options = parser.parse_args()
    for number in SIGNALS:
        signal.signal(number, note_signal)
    with TemporaryDirectory(prefix="django-q-demo-") as folder:
        set_up(folder)
        serves = options.command == "serve"
        return Demo(Path(folder), serve=serves, port=options.port if serves else None).run()


if __name__ == "__main__":
    sys.exit(main())
