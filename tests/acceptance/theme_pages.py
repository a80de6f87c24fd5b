"""Opens each page of the admin on a site with a theme, presses its button, and prints those that fail.

    DJANGO_Q_THEME=unfold DJANGO_SETTINGS_MODULE=tests.acceptance.theme_settings python -m tests.acceptance.theme_pages

With `DJANGO_Q_SCREENSHOTS`, it saves a screenshot of each page in that folder.
"""

from __future__ import annotations

import os
import shutil
import sys
from pathlib import Path
from typing import TYPE_CHECKING, Any

import django

if TYPE_CHECKING:
    from collections.abc import Iterable, Iterator

EXPECTED = {
    "django_q/success/": "succeeded-task",
    "django_q/failure/": "failed-task",
    "django_q/record/": "tracked-task",
    "django_q/schedule/": "nightly-schedule",
    "django_q/schedule/add/": "Show next runs",
    "django_q/queue/": "1 dead",
    "django_q/queue/packages/?queue=test&state=dead": "foreign signature",
    "django_q/queue/packages/?queue=test&state=waiting": "queued-task",
    "django_q/cluster/": "worker 4004",
    "django_q_orm/ormq/": "queued-task",
}
"""Pages, and a text that each has."""


def fill() -> Iterator[tuple[str, str]]:
    """Create rows of each kind. Yield the addresses of their pages, and a text that each has."""
    from django.utils import timezone
    from django_q.brokers import get_broker
    from django_q.brokers.packages import id_of
    from django_q.models import Activity, Record, Schedule, Task
    from django_q.settings import current_settings
    from django_q.status import Stat
    from django_q.wire.codec import PackageCodec
    from django_q.wire.package import new_package
    from django_q_orm.models import OrmQ

    now = timezone.now()
    call: dict[str, Any] = {"func": "math.floor", "args": (1.5,), "kwargs": {}, "started": now, "stopped": now}
    for model, success, result in (("success", True, "result"), ("failure", False, "LookupError: no such part")):
        name = "succeeded-task" if success else "failed-task"
        Task.objects.create(id=f"{success:032d}", name=name, success=success, result=result, **call)
        yield f"django_q/{model}/{success:032d}/change/", "Resubmit"
    Record.objects.create(id="a" * 32, name="tracked-task", func="shop.ship", queue="test", enqueued_at=now)
    yield f"django_q/record/{'a' * 32}/change/", "Cancel task"
    schedule = Schedule.objects.create(name="nightly-schedule", func="math.floor", schedule_type="D")
    yield f"django_q/schedule/{schedule.pk}/change/", "Show next runs"
    broker = get_broker()
    broker.enqueue("unsigned")
    [delivery] = broker.dequeue_many(1, 0)
    broker.fail(delivery.ack_id)
    package = new_package("shop.ship", ()) | {"name": "queued-task"}
    broker.enqueue(PackageCodec.of(current_settings()).dumps(package))
    yield f"django_q/queue/package/?queue=test&state=dead&id={id_of('unsigned')}", "Requeue"
    yield f"django_q_orm/ormq/{OrmQ.objects.get(key='test').pk}/change/", "queued-task"
    values = {"host": "host", "status": "Idle", "queue": "test", "version": "2.0.0"}
    Stat(4000, "a-cluster", tob=now, workers=[4004], **values).save(broker)
    numbers = {"successes": 40, "failures": 3, "waits": 40, "wait_seconds": 12.5}
    minute = int(now.timestamp()) // 60
    Activity.objects.bulk_create(
        Activity(minute=minute - age, cluster_id="a" * 32, **numbers) for age in range(0, 60, 7)
    )
    yield "django_q/cluster/stop/?id=a-cluster", "Stop cluster"


MESSAGES = {
    "_resubmit": "1 task was resubmitted.",
    "_cancel": "1 task is cancelled.",
    "_preview": " UTC<br>",
    "_requeue": "1 dead letter is queued again.",
    "_stop": "stops when it has read the command",
}
"""Buttons, and a text of the page that follows."""

LOAD_SECONDS = 10
"""Maximum time after a click until the next page is loaded."""


def show(folder: Path | None, addresses: Iterable[str], session: str) -> Iterator[str]:
    """Open pages in a browser, and press their first button. Yield a sentence about each that fails.

    Args:
        folder: where a screenshot of each page at 1280 pixels is saved. The names begin with the theme.
        addresses: of the pages.
        session: key of the session of a user.
    """
    from django.contrib.staticfiles.handlers import StaticFilesHandler
    from django.test.testcases import LiveServerThread
    from django.utils.text import slugify
    from selenium import webdriver
    from selenium.common.exceptions import WebDriverException
    from selenium.webdriver.support.ui import WebDriverWait

    server = LiveServerThread("127.0.0.1", StaticFilesHandler)
    server.daemon = True
    server.start()
    server.is_ready.wait()
    options = webdriver.ChromeOptions()
    for argument in ("--headless=new", "--no-sandbox", "--disable-dev-shm-usage", "--window-size=1280,900"):
        options.add_argument(argument)
    browser = webdriver.Chrome(options=options, service=webdriver.ChromeService(shutil.which("chromedriver")))
    try:
        site = f"http://127.0.0.1:{server.port}/admin/"
        browser.get(site)
        browser.add_cookie({"name": "sessionid", "value": session})
        for address in addresses:
            browser.get(f"{site}{address}")
            if folder:
                name = slugify(address.replace("/", "-"))[:60]
                browser.save_screenshot(str(folder / f"{os.environ['DJANGO_Q_THEME']}-{name}.png"))
            buttons = ", ".join(f"input[name={name}]" for name in MESSAGES)
            for button in browser.find_elements("css selector", buttons)[: "/add/" not in address]:
                expected = MESSAGES[button.get_attribute("name") or ""]
                browser.execute_script("arguments[0].scrollIntoView({block: 'center'})", button)
                try:
                    button.click()
                    WebDriverWait(browser, LOAD_SECONDS).until(lambda shown, text=expected: text in shown.page_source)
                except WebDriverException as error:
                    yield f"{address}: {error.msg}, expected {expected!r}"
    finally:
        browser.quit()
        server.terminate()


def main() -> int:
    """Open the pages, print those that fail, and return their number."""
    django.setup()
    from django.contrib.auth.models import User
    from django.test import Client
    from django.test.utils import setup_databases, setup_test_environment, teardown_databases

    setup_test_environment()
    databases = setup_databases(verbosity=0, interactive=False)
    try:
        client = Client()
        client.force_login(User.objects.create_superuser("root"))
        expected = EXPECTED | dict(fill())
        failed = 0
        for address, text in {"": "Clusters", **expected}.items():
            response = client.get(f"/admin/{address}")
            page = response.content.decode().replace("<wbr>", "")
            if response.status_code != 200 or text not in page:
                failed += 1
                print(f"{address}: {response.status_code}, without {text!r}")
        folder = os.environ.get("DJANGO_Q_SCREENSHOTS")
        if folder:
            Path(folder).mkdir(parents=True, exist_ok=True)
        for problem in show(Path(folder) if folder else None, expected, client.cookies["sessionid"].value):
            failed += 1
            print(problem)
        print(f"{len(expected) + 1} pages")
        return failed
    finally:
        teardown_databases(databases, verbosity=0)


if __name__ == "__main__":
    sys.exit(main())
