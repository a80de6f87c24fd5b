"""Counts the requests that fail because a cluster uses the site's SQLite file.

    hatch run bench:requests --requests 5000 --options recommended --cluster busy

Each request of the site reads, computes for two milliseconds, and writes, in one transaction (`ATOMIC_REQUESTS`).
With Django's default options such a transaction fails if another connection writes between its first read and its
first write.
"""

from __future__ import annotations

import argparse
import json
import subprocess
import sys
import tempfile
from contextlib import ExitStack, contextmanager
from pathlib import Path
from typing import TYPE_CHECKING, Any, Final

from tests.acceptance.site import Site

if TYPE_CHECKING:
    from collections.abc import Iterator

OPTIONS: Final[dict[str, dict[str, Any]]] = {
    "default": {},
    "recommended": {
        "transaction_mode": "IMMEDIATE",
        "init_command": "PRAGMA journal_mode=WAL; PRAGMA synchronous=NORMAL",
    },
}

TASKS_PER_SECOND: Final = 200

REQUESTS: Final = """
import json, logging, sys, time
import django
from django.conf import settings
settings.ROOT_URLCONF = "site_requests"
settings.ALLOWED_HOSTS = ["*"]
logging.disable()
django.setup()
from django.contrib.auth.models import Group
from django.core.handlers.wsgi import WSGIHandler
from django.http import HttpResponse
from django.test import RequestFactory
from django.urls import path

errors = {}

def page(request):
    try:
        group = Group.objects.get(name="visitors")
        time.sleep(0.002)
        group.name = "visitors"
        group.save()
    except Exception as error:
        errors[str(error)] = errors.get(str(error), 0) + 1
        raise
    return HttpResponse("done")

urlpatterns = [path("", page)]

def main():
    handler, environ, failed, times = WSGIHandler(), RequestFactory()._base_environ(PATH_INFO="/"), 0, []
    for number in range(int(sys.argv[1])):
        began = time.perf_counter()
        response = handler(dict(environ), lambda status, headers: None)
        list(response)
        response.close()
        times.append(time.perf_counter() - began)
        failed += response.status_code != 200
    times.sort()
    parts = {"median_ms": times[len(times) // 2], "p99_ms": times[len(times) * 99 // 100], "slowest_ms": times[-1]}
    parts = {name: round(seconds * 1e3, 1) for name, seconds in parts.items()}
    print(json.dumps({"requests": len(times), "failed": failed, "errors": errors} | parts))

if __name__ == "__main__":
    sys.modules["site_requests"] = sys.modules["__main__"]
    Group.objects.get_or_create(name="visitors")
    main()
"""

SENDER: Final = """
import sys, time
import django
django.setup()
from django_q.tasks import async_task
began = time.monotonic()
number = 0
while True:
    async_task("math.copysign", number, -1)
    number += 1
    time.sleep(max(0.0, began + number / float(sys.argv[1]) - time.monotonic()))
"""


def measure(requests: int, options: str, cluster: str) -> dict[str, Any]:
    """Run a site in a temporary folder and count its failed requests.

    Args:
        requests: their number.
        options: a key of `OPTIONS`.
        cluster: "none"; "idle"; or "busy", with `TASKS_PER_SECOND`.
    """
    with tempfile.TemporaryDirectory() as folder, ExitStack() as stack:
        database = {
            "ENGINE": "django.db.backends.sqlite3",
            "NAME": str(Path(folder, "db.sqlite3")),
            "ATOMIC_REQUESTS": True,
            "OPTIONS": OPTIONS[options],
        }
        site = Site(Path(folder), {"name": "site", "orm": "default", "workers": 2}, database, ("django_q_orm",))
        Path(folder, "site_requests.py").write_text(REQUESTS)
        Path(folder, "sender.py").write_text(SENDER)
        site.manage("migrate", "--verbosity", "0")
        if cluster != "none":
            stack.enter_context(site.cluster())
        if cluster == "busy":
            stack.enter_context(running(site, "sender.py", str(TASKS_PER_SECOND)))
        done = subprocess.run(
            [sys.executable, "site_requests.py", str(requests)],
            env=site.environment, cwd=folder, text=True, stdout=subprocess.PIPE, check=True,
        )  # fmt: skip
        return json.loads(done.stdout)


@contextmanager
def running(site: Site, *arguments: str) -> Iterator[None]:
    """Run a script of the site until the end of the block."""
    process = subprocess.Popen([sys.executable, *arguments], env=site.environment, cwd=site.folder)
    try:
        yield
        assert process.poll() is None, "the sender has ended"
    finally:
        process.kill()
        process.wait()


def main() -> None:
    """Print a line of JSON for each combination."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--requests", type=int, default=500)
    parser.add_argument("--options", nargs="+", choices=OPTIONS, default=list(OPTIONS))
    parser.add_argument("--cluster", nargs="+", choices=("none", "idle", "busy"), default=["none", "idle", "busy"])
    chosen = parser.parse_args()
    for options in chosen.options:
        for cluster in chosen.cluster:
            result = {"options": options, "cluster": cluster} | measure(chosen.requests, options, cluster)
            print(json.dumps(result), flush=True)


if __name__ == "__main__":
    main()
