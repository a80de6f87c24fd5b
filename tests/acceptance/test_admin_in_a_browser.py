"""The admin in a real browser: every page with every kind of row, for three kinds of staff.

Screenshots are kept in the folder that `DJANGO_Q_SCREENSHOTS` names, or else in a temporary folder.
"""

from __future__ import annotations

import os
import re
import shutil
import time
from contextlib import contextmanager
from datetime import timedelta
from importlib.resources import files
from itertools import product
from pathlib import Path
from typing import TYPE_CHECKING, Any

import pytest
from django.conf import settings as conf
from django.contrib.auth.models import Permission, User
from django.contrib.staticfiles.handlers import StaticFilesHandler
from django.test import Client
from django.test.testcases import LiveServerThread
from django.utils import timezone
from django_q.brokers import PackageState, get_broker
from django_q.brokers.packages import id_of
from django_q.models import Activity, Command, Failure, Record, Schedule, Status, Task
from django_q.records import attempts
from django_q.settings import current_settings
from django_q.status import Stat
from django_q.testing import eventually
from django_q.wire.codec import PackageCodec
from django_q.wire.outcome import encode
from django_q.wire.package import new_package
from django_q_orm.models import OrmQ

from tests.services.fixtures import missing

if TYPE_CHECKING:
    from collections.abc import Iterable, Iterator

webdriver = pytest.importorskip("selenium.webdriver")
By = pytest.importorskip("selenium.webdriver.common.by").By

pytestmark = [
    pytest.mark.django_db(transaction=True),
    pytest.mark.variant,
]

HOSTILE = "<script>document.title = 'executed'</script>"
TRACEBACK = """no such part : Traceback (most recent call last):
  File "/usr/lib/python3.11/site-packages/celestial/engine.py", line 4, in run
    call()
  File "/srv/shop/orders.py", line 12, in ship
    raise LookupError("no such part")
LookupError: no such part"""
VALUES = {
    "plain": ("1", 2),
    "huge": "x" * 2_000_000,
    "hostile": HOSTILE,
    "unicode": "Größe · 任务 · 🚀",
    "surrogate": "caf\udce9",
    "nul": "a\0b",
    "wide": "w" * 3_000,
}
SCREENS = tuple(product((1280, 390), ("light", "dark")))
"""Width in pixels and theme of each screen on which pages are looked at."""
LISTS = ("success", "failure", "record", "schedule")
STATES = ("waiting", "delayed", "leased", "dead")
PACKAGES = {
    "unsigned": "unsigned",
    "huge": "x" * 2_000_000,
    "hostile": HOSTILE,
    "unicode": "Größe · 任务 · 🚀",
    "control": "\x1b[31m\u202e",
}
MIN_CONTRAST = 3.0
"""Contrast of graphics that can be seen, WCAG 1.4.11."""
CONTRASTS = """
const luminance = (colour) => {
    const parts = colour.match(/[\\d.]+/g).map(Number);
    const linear = (part) => part <= 10 ? part / 255 / 12.92 : ((part / 255 + 0.055) / 1.055) ** 2.4;
    const [red, green, blue] = parts.slice(0, 3).map(linear);
    return 0.2126 * red + 0.7152 * green + 0.0722 * blue;
};
const behind = (element) => {
    const colour = getComputedStyle(element).backgroundColor;
    return colour === "rgba(0, 0, 0, 0)" && element.parentElement ? behind(element.parentElement) : colour;
};
return [...document.querySelectorAll(".django-q-chart path")].map((bars) => {
    const both = [luminance(getComputedStyle(bars).fill), luminance(behind(bars))].sort((a, b) => b - a);
    return (both[0] + 0.05) / (both[1] + 0.05);
});
"""
"""Script that returns the contrast of each chart with the page behind it."""
AXE = """
const done = arguments[arguments.length - 1];
// Django's search field has a picture as its label. Its alternative text is a name, which this rule does not know.
const rules = {"label-title-only": {enabled: false}};
axe.run(document, {resultTypes: ["violations"], rules}).then((found) => done(found.violations.map(
    (rule) => `${rule.id} (${rule.impact}): ${rule.nodes.map((node) => node.target.join(" ")).join(", ")}`)));
"""
"""Script that returns the barriers of a page."""
WITHOUT_TRANSITIONS = """
document.head.appendChild(document.createElement("style")).textContent = "* { transition: none !important }";
"""
"""Script after which the colours of another theme apply at once."""


class Unreadable:
    """Value whose class fails when it is unpickled."""

    def __reduce__(self):
        return int, ("not a number",)


@pytest.fixture
def site():
    """Address of a site whose database this test shares."""
    get_broker().delete_queue()
    server = LiveServerThread("127.0.0.1", StaticFilesHandler)
    server.daemon = True
    server.start()
    server.is_ready.wait()
    assert server.error is None
    yield f"http://127.0.0.1:{server.port}/admin/"
    server.terminate()
    get_broker().delete_queue()


@pytest.fixture(scope="module")
def browser():
    """Headless Chromium."""
    executable = shutil.which("chromedriver")
    if executable is None:
        missing("Chromium", FileNotFoundError("there is no chromedriver"))
    options = webdriver.ChromeOptions()
    for argument in ("--headless=new", "--no-sandbox", "--disable-dev-shm-usage", "--hide-scrollbars"):
        options.add_argument(argument)
    driver = webdriver.Chrome(options=options, service=webdriver.ChromeService(executable))
    driver.set_page_load_timeout(30)
    driver.implicitly_wait(5)  # a click may return before the next page is loaded
    yield driver
    driver.quit()


@pytest.fixture(scope="module")
def screenshots(tmp_path_factory) -> Path:
    """Folder of the screenshots."""
    named = os.environ.get("DJANGO_Q_SCREENSHOTS")
    folder = Path(named) if named else tmp_path_factory.mktemp("screenshots")
    folder.mkdir(parents=True, exist_ok=True)
    return folder


@pytest.fixture
def rows() -> dict[str, list]:
    """Rows of every kind, by the name of their model."""
    now = timezone.now()
    for number, (name, value) in enumerate((VALUES | {"unreadable": Unreadable()}).items()):
        for success in (True, False):
            Task.objects.create(
                id=f"{number:031}{success:d}",
                name=f"{name}-{'oven-sad' if success else 'lemon-mars'}",
                func="json.scanner.c_make_scanner"
                if name == "plain"
                else "shop.orders.invoices.send_monthly_reminders",
                args=(value,),
                kwargs={"x": value},
                result=value if success or name in ("huge", "hostile", "surrogate", "nul") else TRACEBACK,
                success=success,
                group=HOSTILE if name == "hostile" else name,
                started=now,
                stopped=now + timedelta(seconds=number, milliseconds=250),
            )
    failed = attempts.entry(1, "worker-1", now)
    failed = attempts.ended(failed, now, duration=0.5, exception_class="builtins.LookupError", traceback=TRACEBACK)
    for number, status in enumerate(Status.values):
        Record.objects.create(
            id=f"{number:032}",
            name=f"{status}-task",
            func="shop.orders.ship",
            queue="test",
            status=status,
            lease_ends_at=now + timedelta(minutes=10) if status == Status.RUNNING else None,
            enqueued_at=now,
            attempts=[failed, attempts.entry(2, "worker-2", now)] if number else [],
            arguments=encode(((HOSTILE,), {"x": Unreadable()})) if number % 2 else encode(((1,), {})),
            result=encode("x" * 100_000),
        )
    for columns in (
        {},
        {"schedule_type": "C", "cron": "30 4 * * 1-5", "name": "nightly-invoices"},
        {"name": HOSTILE, "last_error": f"{HOSTILE}{'no such part ' * 100}"},
        {"in_code": True, "name": "declared", "repeats": 0},
        {"schedule_type": "O", "next_run": None, "task": f"{0:031}1"},
        {"name": "n" * 100, "func": ".".join(["module"] * 30), "task": f"{0:031}0"},
    ):
        Schedule.objects.create(**{"func": "math.floor", "schedule_type": "H", "next_run": now} | columns)
    return {
        "success": list(Task.objects.filter(success=True)),
        "failure": list(Failure.objects.all()),
        "record": list(Record.objects.all()),
        "schedule": list(Schedule.objects.all()),
    }


@pytest.fixture
def queue(settings) -> list[OrmQ]:
    """Rows of the database broker in every state, readable and not."""
    settings.Q_CLUSTER = {"name": "test", "orm": "default", "retry": 600, "timeout": 300}
    broker = get_broker()
    codec = PackageCodec.of(current_settings())
    task = new_package("shop.orders.ship", (HOSTILE, Unreadable()), group="g" * 100) | {"name": "readable"}
    for package in (codec.dumps(task), *PACKAGES.values()):
        broker.enqueue(package)
        [dead] = broker.dequeue_many(1, 0)
        broker.fail(dead.ack_id)
    broker.enqueue_many([codec.dumps(task), "leased"])
    assert len(broker.dequeue_many(2, 0)) == 2
    broker.enqueue_many([codec.dumps(task), *PACKAGES.values()])
    broker.enqueue("delayed", delay=3_600)
    return list(OrmQ.objects.all())


def activities(ages: Iterable[int], cluster_id: str = "a" * 32) -> list[Activity]:
    """Return the activities of a cluster in the minutes that were *ages* minutes ago."""
    minute = int(time.time()) // 60
    return [
        Activity(
            minute=minute - age,
            cluster_id=cluster_id,
            successes=40 + age % 30,
            failures=age % 9 // 7,
            waits=40,
            wait_seconds=age % 13,
        )
        for age in ages
    ]


@pytest.fixture
def cluster() -> Stat:
    """Published snapshot of a cluster that has been active for a day."""
    values: dict[str, Any] = {
        "host": HOSTILE,
        "status": "Working",
        "sentinel": 4001,
        "pusher": 4002,
        "monitor": 4003,
        "queue": "test",
    }
    task = {"worker": 4005, "id": f"{1:032}", "name": HOSTILE, "func": "shop.orders.ship", "track": True}
    values |= {"version": "7.8.9", "tasks": [task | {"started": timezone.now()}]}
    stat = Stat(4000, "a-cluster", tob=timezone.now() - timedelta(hours=1), workers=[4004, 4005], **values)
    stat.save(get_broker())
    Activity.objects.bulk_create(activities(range(24 * 60)))
    return stat


def log_in(browser, site: str, name: str, **fields) -> User:
    """Create a user, and give the browser a session of it."""
    user = User.objects.create_user(name, is_staff=True, **fields)
    client = Client()
    client.force_login(user)
    session = {"name": conf.SESSION_COOKIE_NAME, "value": client.cookies[conf.SESSION_COOKIE_NAME].value, "url": site}
    browser.execute_cdp_cmd("Network.setCookie", session)
    return user


def addresses(site: str, rows: dict[str, list]) -> list[str]:
    """Return the addresses of all lists and pages."""
    found = [site]
    for model, objects in rows.items():
        found.append(f"{site}django_q/{model}/")
        found += [f"{site}django_q/{model}/{row.pk}/change/" for row in objects]
    return found


def queue_addresses(site: str, queue: list[OrmQ]) -> list[str]:
    """Return the addresses of the pages of queues, packages and clusters."""
    found = [f"{site}django_q/queue/", f"{site}django_q/cluster/", f"{site}django_q_orm/ormq/"]
    found += [f"{site}django_q_orm/ormq/{row.pk}/change/" for row in queue]
    broker = get_broker()
    for state in STATES:
        query = f"queue=test&state={state}"
        found.append(f"{site}django_q/queue/packages/?{query}")
        for position, each in enumerate(broker.list_packages(PackageState(state), 20)):
            found.append(f"{site}django_q/queue/package/?{query}&n={position}&id={id_of(each.package)}")
    return found


def barriers(browser) -> list[str]:
    """Return what keeps people from using the page, as axe-core finds it on each screen and in each theme."""
    browser.execute_script((files("axe_core_python") / "axe.min.js").read_text() + WITHOUT_TRANSITIONS)
    found = []
    for width, theme in SCREENS:
        with screen(browser, width, theme):
            found += [f"{theme}, {width} pixels: {rule}" for rule in browser.execute_async_script(AXE)]
    return found


@contextmanager
def screen(browser, width: int, theme: str) -> Iterator[None]:
    """Show pages on a screen of *width* pixels, in a light or dark theme."""
    metrics = {"width": width, "height": 900, "deviceScaleFactor": 1, "mobile": width < 600}
    browser.execute_cdp_cmd("Emulation.setDeviceMetricsOverride", metrics)
    media = {"features": [{"name": "prefers-color-scheme", "value": theme}]}
    browser.execute_cdp_cmd("Emulation.setEmulatedMedia", media)
    try:
        yield
    except BaseException as error:
        error.add_note(f"on a screen of {width} pixels in the {theme} theme")
        raise
    finally:
        browser.execute_cdp_cmd("Emulation.clearDeviceMetricsOverride", {})


def status_of(browser) -> int:
    """Return the status code of the page."""
    return browser.execute_script("return performance.getEntriesByType('navigation')[0].responseStatus")


def overflow(browser) -> int:
    """Return the number of pixels by which the page is wider than the window."""
    return browser.execute_script("return document.documentElement.scrollWidth - window.innerWidth")


def expect_message(browser, text: str) -> None:
    """Wait for the page that shows a message."""
    eventually(lambda: text in browser.page_source)


def press(browser, label: str) -> None:
    """Press a button or link with a text."""
    browser.find_element(By.XPATH, f"//input[@value='{label}'] | //a[.='{label}'] | //button[.='{label}']").click()


def test_superuser_opens_every_page_with_every_row(browser, site, rows) -> None:
    log_in(browser, site, "root", is_superuser=True)
    for address in [*addresses(site, rows), f"{site}django_q/schedule/add/"]:
        browser.get(address)
        assert status_of(browser) == 200, address
        assert browser.title != "executed", address
        assert len(browser.page_source) < 300_000, address


def test_viewer_opens_every_page_and_has_no_button(browser, site, rows) -> None:
    user = log_in(browser, site, "viewer")
    user.user_permissions.add(*Permission.objects.filter(codename__startswith="view_"))
    for address in addresses(site, rows):
        browser.get(address)
        assert status_of(browser) == 200, address
        if address.endswith("/change/"):
            for button in ("_save", "_continue", "_resubmit", "_cancel"):
                assert f'name="{button}"' not in browser.page_source, address


def test_staff_without_rights_is_refused(browser, site, rows) -> None:
    log_in(browser, site, "outsider")
    for model, objects in rows.items():
        for address in (f"{site}django_q/{model}/", f"{site}django_q/{model}/{objects[0].pk}/change/"):
            browser.get(address)
            assert status_of(browser) == 403, address


def test_pages_without_rows_open(browser, site) -> None:
    log_in(browser, site, "root", is_superuser=True)
    for model in (*LISTS, "queue", "cluster"):
        browser.get(f"{site}django_q/{model}/")
        assert status_of(browser) == 200, model
        assert browser.find_element(By.TAG_NAME, "h1").is_displayed(), model


def post(browser, address: str, **fields: object) -> int:
    """Send a form as a script of the user could do it, and return the status code of the answer."""
    script = """
    const [address, fields, done] = arguments;
    const token = document.querySelector("[name=csrfmiddlewaretoken]").value;
    const body = new URLSearchParams([["csrfmiddlewaretoken", token], ...Object.entries(fields)]);
    fetch(address, {method: "POST", body}).then((response) => done(response.status));
    """
    return browser.execute_async_script(script, address, fields)


def test_viewer_is_refused_each_action(browser, site, rows, queue, cluster) -> None:
    user = log_in(browser, site, "viewer")
    user.user_permissions.add(*Permission.objects.filter(codename__startswith="view_"))
    browser.get(site)
    records = list(Record.objects.order_by("pk").values())
    schedules = list(Schedule.objects.order_by("pk").values())
    chosen = {"_selected_action": rows["schedule"][0].pk}
    for path, fields in {
        f"success/{0:031}1/change/": {"_resubmit": ""},
        f"failure/{0:031}0/change/": {"_resubmit": ""},
        f"failure/{0:031}0/delete/": {"post": "yes"},
        f"record/{0:032}/change/": {"_cancel": ""},
        f"schedule/{chosen['_selected_action']}/change/": {"name": "other", "_save": ""},
        "schedule/add/": {"func": "math.floor", "_save": ""},
        "queue/packages/?queue=test&state=dead": {"id": id_of("unsigned"), "_requeue": ""},
        f"queue/package/?queue=test&state=dead&id={id_of('unsigned')}": {"_delete": ""},
        "cluster/stop/?id=a-cluster": {},
    }.items():
        assert post(browser, f"{site}django_q/{path}", **fields) == 403, path
    for model, action in (("schedule", "run_now"), ("schedule", "pause"), ("schedule", "duplicate")):
        post(browser, f"{site}django_q/{model}/", action=action, **chosen)  # the list, with a message
    post(browser, f"{site}django_q/record/", action="cancel_tasks", _selected_action=f"{0:032}")
    post(browser, f"{site}django_q/failure/", action="resubmit_task", _selected_action=f"{0:031}0")
    assert records == list(Record.objects.order_by("pk").values())
    assert schedules == list(Schedule.objects.order_by("pk").values())
    assert OrmQ.objects.count() == len(queue)
    assert Task.objects.count() == len(rows["success"]) + len(rows["failure"])
    assert not Command.objects.exists()


def test_tasks_are_filtered_by_group(browser, site, rows) -> None:
    log_in(browser, site, "root", is_superuser=True)
    browser.get(f"{site}django_q/success/")
    browser.find_element(By.CSS_SELECTOR, "#changelist-filter input[name=group]").send_keys("plain\n")
    eventually(lambda: "group=plain" in browser.current_url)
    links = browser.find_elements(By.CSS_SELECTOR, "#result_list .field-name a")
    assert [link.text for link in links] == ["plain-oven-sad"]


def test_schedule_is_edited(browser, site, rows) -> None:
    log_in(browser, site, "root", is_superuser=True)
    schedule = Schedule.objects.get(name="nightly-invoices")
    browser.get(f"{site}django_q/schedule/{schedule.pk}/change/")
    for name, value in (("name", "weekly-invoices"), ("cron", "30 4 * * 1")):
        browser.find_element(By.NAME, name).clear()
        browser.find_element(By.NAME, name).send_keys(value)
    browser.find_element(By.NAME, "_save").click()
    expect_message(browser, "was changed successfully")
    schedule.refresh_from_db()
    assert (schedule.name, schedule.cron) == ("weekly-invoices", "30 4 * * 1")


def test_failure_is_searched_and_resubmitted(browser, site, rows) -> None:
    log_in(browser, site, "root", is_superuser=True)
    browser.get(f"{site}django_q/failure/")
    browser.find_element(By.ID, "searchbar").send_keys("no such part\n")
    eventually(lambda: "?q=" in browser.current_url)
    links = browser.find_elements(By.CSS_SELECTOR, "#result_list .field-name a")
    assert {link.text.partition("-")[0] for link in links} == {"plain", "unicode", "wide", "unreadable"}
    next(link for link in links if link.text.startswith("plain")).click()
    assert browser.find_element(By.CSS_SELECTOR, ".field-error strong").text == "LookupError: no such part"
    lines = browser.find_element(By.CSS_SELECTOR, ".field-traceback").text
    assert '  File "/srv/shop/orders.py", line 12, in ship\n    raise LookupError' in lines
    assert "celestial" not in lines
    press(browser, "Resubmit")
    expect_message(browser, "1 task was resubmitted.")
    assert get_broker().queue_size() == 1


def test_waiting_task_is_cancelled(browser, site, rows) -> None:
    log_in(browser, site, "root", is_superuser=True)
    browser.get(f"{site}django_q/record/{0:032}/change/")
    press(browser, "Cancel task")
    expect_message(browser, "1 task is cancelled.")
    assert Record.objects.get(pk=f"{0:032}").status == Status.CANCELLED


def test_schedule_is_previewed_created_run_and_paused(browser, site) -> None:
    log_in(browser, site, "root", is_superuser=True)
    browser.get(f"{site}django_q/schedule/add/")
    browser.find_element(By.NAME, "func").send_keys("math.no_such")
    browser.find_element(By.NAME, "kwargs").send_keys("q_options={'no_such': 1}")
    press(browser, "Show next runs")
    for field in ("func", "kwargs"):
        error = browser.find_element(By.CSS_SELECTOR, f".field-{field} .errorlist")
        assert "no_such" in error.text
    for name, value in (("func", "math.pow"), ("args", "2, 3"), ("kwargs", ""), ("name", "powers")):
        browser.find_element(By.NAME, name).clear()
        browser.find_element(By.NAME, name).send_keys(value)
    browser.find_element(By.CSS_SELECTOR, "[name=schedule_type] option[value=D]").click()
    press(browser, "Show next runs")
    eventually(lambda: browser.page_source.count(" UTC<br>") == 5)
    assert not Schedule.objects.exists()
    browser.find_element(By.NAME, "_save").click()
    for action, message in (("run_now", "1 task was sent."), ("pause", "1 schedule is paused.")):
        browser.find_element(By.CSS_SELECTOR, "#result_list input.action-select").click()
        browser.find_element(By.CSS_SELECTOR, f"select[name=action] option[value={action}]").click()
        browser.find_element(By.CSS_SELECTOR, ".actions button").click()
        expect_message(browser, message)
    assert Schedule.objects.get().repeats == 0


def test_important_columns_are_visible_at_1280_pixels(browser, site, rows) -> None:
    log_in(browser, site, "root", is_superuser=True)
    browser.set_window_size(1280, 900)
    browser.get(f"{site}django_q/schedule/")
    end = browser.find_element(By.ID, "changelist-filter").rect["x"]
    for column in ("next_run_at", "last_run", "error", "success"):
        cell = browser.find_element(By.CSS_SELECTOR, f"#result_list th.column-{column}")
        assert cell.rect["x"] + cell.rect["width"] <= end, column


def cell(browser, column: str) -> str:
    """Return the text of a column in the row of the task `plain`, after it was scrolled into the window."""
    xpath = f"//tr[th[contains(., 'plain-')]]//*[contains(@class, 'field-{column}')]"
    found = browser.find_element(By.XPATH, xpath)
    browser.execute_script("arguments[0].scrollIntoView({block: 'nearest', inline: 'nearest'})", found)
    box = browser.execute_script("return arguments[0].getBoundingClientRect().toJSON()", found)
    assert 0 <= box["left"] < browser.execute_script("return window.innerWidth"), column
    return found.text


def test_times_attempts_and_workers_are_columns(browser, site, rows) -> None:
    now = timezone.now()
    entry = attempts.ended(attempts.entry(1, "worker-7", now), now, duration=0.75)
    times = {"enqueued_at": now, "last_attempted_at": now + timedelta(seconds=1.5), "attempts": [entry]}
    for number in (0, 1):
        Record.objects.filter(pk=f"{number:032}").update(**times)
    log_in(browser, site, "root", is_superuser=True)
    for width, theme in SCREENS:
        with screen(browser, width, theme):
            for model in ("success", "failure"):
                browser.get(f"{site}django_q/{model}/")
                assert re.fullmatch(r"[-\d]{10}\s\d\d:\d\d:\d\d", cell(browser, "started_at"))
                assert re.fullmatch(r"[-\d]{10}\s\d\d:\d\d:\d\d", cell(browser, "stopped_at"))
                assert (cell(browser, "waiting_time"), cell(browser, "run_time")) == ("1.5", "0.75")
                assert (cell(browser, "attempt_count"), cell(browser, "worker")) == ("0", "worker-7")
                assert cell(browser, "group") == "plain"


def test_page_of_a_failure_begins_with_its_error(browser, site, rows) -> None:
    log_in(browser, site, "root", is_superuser=True)
    for width, theme in SCREENS:
        with screen(browser, width, theme):
            browser.get(f"{site}django_q/failure/{0:031}0/change/")
            first, second = browser.find_elements(By.CSS_SELECTOR, ".form-row")[:2]
            assert "LookupError: no such part" in first.text
            blocks = second.find_elements(By.CSS_SELECTOR, "pre")
            assert "\n    raise LookupError" in blocks[-1].get_attribute("textContent")
            style = "const style = getComputedStyle(arguments[0]); return [style.fontFamily, style.whiteSpaceCollapse]"
            font, spaces = browser.execute_script(style, blocks[-1])
            assert "monospace" in font
            assert spaces == "preserve"
            assert "('1', 2)" in browser.find_element(By.CSS_SELECTOR, ".field-shown_args").text
            assert "{'x': ('1', 2)}" in browser.find_element(By.CSS_SELECTOR, ".field-shown_kwargs").text
            button = browser.find_element(By.NAME, "_resubmit").rect
            assert 0 <= button["x"] < button["x"] + button["width"] <= width
            others = "[name^='_save'], [name='_continue'], [name='_addanother']"
            assert browser.execute_script("return document.querySelectorAll(arguments[0]).length", others) == 0


def test_huge_values_are_truncated_with_a_download(browser, site, rows) -> None:
    log_in(browser, site, "root", is_superuser=True)
    for width, theme in SCREENS:
        with screen(browser, width, theme):
            browser.get(f"{site}django_q/success/{1:031}1/change/")
            for field, name in (("shown_args", "args"), ("shown_kwargs", "kwargs"), ("shown_result", "result")):
                row = browser.find_element(By.CSS_SELECTOR, f".field-{field}")
                assert len(row.text) < 10_000
                link = row.find_element(By.PARTIAL_LINK_TEXT, "Download all 2,000,0")
                assert link.get_attribute("href").endswith(f"/value/{name}/")


def test_pages_fit_and_screenshots_are_kept(browser, site, rows, screenshots) -> None:
    log_in(browser, site, "root", is_superuser=True)
    for width, theme in SCREENS:
        with screen(browser, width, theme):
            for model in LISTS:
                for kind, path in (("list", ""), ("page", f"{rows[model][0].pk}/change/")):
                    browser.get(f"{site}django_q/{model}/{path}")
                    browser.save_screenshot(str(screenshots / f"{model}-{kind}-{width}-{theme}.png"))
                    assert overflow(browser) <= 0, (model, kind)


def test_queue_pages_fit_and_screenshots_are_kept(browser, site, queue, cluster, screenshots) -> None:
    log_in(browser, site, "root", is_superuser=True)
    pages = {
        "queue-list": "django_q/queue/",
        "queue-dead": "django_q/queue/packages/?queue=test&state=dead",
        "queue-leased": "django_q/queue/packages/?queue=test&state=leased",
        "queue-package": f"django_q/queue/package/?queue=test&state=dead&id={id_of(PACKAGES['huge'])}",
        "queue-task": f"django_q/queue/package/?queue=test&state=dead&id={id_of(queue[0].payload)}",
        "cluster": "django_q/cluster/",
        "cluster-stop": "django_q/cluster/stop/?id=a-cluster",
        "ormq-list": "django_q_orm/ormq/",
        "ormq-page": f"django_q_orm/ormq/{queue[0].pk}/change/",
    }
    for width, theme in SCREENS:
        cluster.save(get_broker())  # before it is forgotten
        with screen(browser, width, theme):
            for name, path in pages.items():
                browser.get(f"{site}{path}")
                browser.save_screenshot(str(screenshots / f"{name}-{width}-{theme}.png"))
                assert overflow(browser) <= 0, name


def test_no_page_has_barriers(browser, site, rows, queue, cluster) -> None:
    log_in(browser, site, "root", is_superuser=True)
    addresses = [site, f"{site}django_q/schedule/add/", f"{site}django_q/cluster/stop/?id=a-cluster"]
    for model in LISTS:
        addresses += [f"{site}django_q/{model}/", f"{site}django_q/{model}/{rows[model][0].pk}/change/"]
    addresses += [each for each in queue_addresses(site, queue[:1]) if "&n=" not in each or "&n=0" in each]
    found = []
    for address in addresses:
        cluster.save(get_broker())  # before it is forgotten
        browser.get(address)
        assert status_of(browser) == 200, address
        found += [f"{address.removeprefix(site)}, {each}" for each in barriers(browser)]
    assert not found, "\n".join(found)


def test_superuser_opens_every_page_of_queues(browser, site, queue, cluster) -> None:
    log_in(browser, site, "root", is_superuser=True)
    for address in queue_addresses(site, queue):
        browser.get(address)
        assert status_of(browser) == 200, address
        assert browser.title != "executed", address
        assert len(browser.page_source) < 300_000, address


def test_viewer_opens_every_page_of_queues_and_has_no_button(browser, site, queue, cluster) -> None:
    user = log_in(browser, site, "viewer")
    user.user_permissions.add(*Permission.objects.filter(codename__startswith="view_"))
    for address in queue_addresses(site, queue):
        browser.get(address)
        assert status_of(browser) == 200, address
        for button in ("_save", "_requeue", "_delete", "requeue_dead_letters", "delete_dead_letters", "Stop cluster"):
            assert f'"{button}"' not in browser.page_source, (address, button)
    browser.get(f"{site}django_q/cluster/stop/?id=a-cluster")
    assert status_of(browser) == 403
    browser.get(f"{site}django_q_orm/ormq/")
    assert browser.find_element(By.TAG_NAME, "h1").text == "Select Queued task to view"


def test_staff_without_rights_opens_no_page_of_queues(browser, site, queue, cluster) -> None:
    log_in(browser, site, "outsider")
    for address in queue_addresses(site, queue):
        browser.get(address)
        assert status_of(browser) == 403, address


def test_dead_letters_are_requeued_and_deleted(browser, site, queue) -> None:
    log_in(browser, site, "root", is_superuser=True)
    broker = get_broker()
    browser.get(f"{site}django_q/queue/")
    press(browser, "6 dead")
    for identity in (id_of("unsigned"), id_of(HOSTILE)):
        browser.find_element(By.CSS_SELECTOR, f"input[value='{identity}']").click()
    press(browser, "Requeue selected")
    expect_message(browser, "2 dead letters are queued again.")
    browser.find_element(By.LINK_TEXT, id_of(PACKAGES["huge"])).click()
    press(browser, "Delete")
    expect_message(browser, "1 dead letter is deleted.")
    assert broker.dead_size() == 3


def test_rows_of_the_queue_are_requeued_deleted_and_changed(browser, site, queue, settings) -> None:
    log_in(browser, site, "root", is_superuser=True)
    address = f"{site}django_q_orm/ormq/"
    for action, message in (
        ("requeue_dead_letters", "1 dead letter is queued again."),
        ("delete_dead_letters", "1 dead letter is deleted."),
    ):
        browser.get(f"{address}?dead=1")
        browser.find_element(By.CSS_SELECTOR, "#result_list input.action-select").click()
        browser.find_element(By.CSS_SELECTOR, f"select[name=action] option[value={action}]").click()
        browser.find_element(By.CSS_SELECTOR, ".actions button").click()
        expect_message(browser, message)
    assert get_broker().dead_size() == 4
    row = OrmQ.objects.get(payload="delayed")
    browser.get(f"{address}{row.pk}/change/")
    assert 'name="_save"' not in browser.page_source
    settings.DEBUG = True
    browser.get(f"{address}{row.pk}/change/")
    browser.find_element(By.NAME, "key").clear()
    browser.find_element(By.NAME, "key").send_keys("other")
    browser.find_element(By.NAME, "_save").click()
    expect_message(browser, "was changed successfully")
    assert OrmQ.objects.get(payload="delayed").key == "other"


def test_reasons_are_visible_at_1280_pixels(browser, site, queue) -> None:
    log_in(browser, site, "root", is_superuser=True)
    browser.set_window_size(1280, 900)
    browser.get(f"{site}django_q/queue/packages/?queue=test&state=dead")
    cell = browser.find_element(By.CSS_SELECTOR, "#result_list .field-reason")
    assert cell.rect["x"] + cell.rect["width"] <= 1280


def test_clusters_are_updated_without_a_reload(browser, site, cluster) -> None:
    log_in(browser, site, "root", is_superuser=True)
    browser.get(f"{site}django_q/cluster/")
    browser.execute_script("window.isSamePage = true")
    assert "worker 4004" in browser.find_element(By.ID, "django-q-live").text
    cluster.workers = [5001]
    cluster.save(get_broker())
    eventually(lambda: "worker 5001" in browser.find_element(By.ID, "django-q-live").text, within=15)
    assert browser.execute_script("return window.isSamePage")


def test_cluster_is_stopped_with_the_keyboard(browser, site, cluster) -> None:
    log_in(browser, site, "root", is_superuser=True)
    for width, theme in SCREENS:
        cluster.save(get_broker())  # before it is forgotten
        with screen(browser, width, theme):
            browser.get(f"{site}django_q/cluster/")
            button = browser.find_element(By.CSS_SELECTOR, "input[value='Stop cluster']")
            assert button.accessible_name.startswith("Stop cluster: ")
            button.send_keys("\n")
            eventually(lambda: "/stop/?id=a-cluster" in browser.current_url)
            assert not Command.objects.exists()
            browser.find_element(By.NAME, "_stop").send_keys("\n")
            expect_message(browser, "stops when it has read the command")
            assert Command.objects.get().target == "a-cluster"
            Command.objects.all().delete()


def test_charts_can_be_seen(browser, site, cluster, screenshots) -> None:
    log_in(browser, site, "root", is_superuser=True)
    for width, theme in SCREENS:
        with screen(browser, width, theme):
            browser.get(f"{site}django_q/cluster/")
            contrasts = browser.execute_script(CONTRASTS)
            assert len(contrasts) == 6
            assert min(contrasts) >= MIN_CONTRAST
            charts = browser.find_elements(By.CSS_SELECTOR, ".django-q-chart svg")
            assert len({chart.rect["y"] for chart in charts}) == (2 if width == 1280 else 6)
            for chart in charts:
                bars = chart.find_element(By.CSS_SELECTOR, "path").rect
                assert chart.rect["width"] >= bars["width"] > 0.7 * chart.rect["width"] > 150
                assert chart.rect["height"] >= bars["height"] > 0.9 * chart.rect["height"] > 40
            browser.execute_script("arguments[0].closest('.module').scrollIntoView()", charts[0])
            browser.save_screenshot(str(screenshots / f"charts-{width}-{theme}.png"))


def test_charts_are_updated_without_a_reload(browser, site, cluster) -> None:
    log_in(browser, site, "root", is_superuser=True)
    browser.get(f"{site}django_q/cluster/")
    browser.execute_script("window.isSamePage = true")
    assert "per minute" in browser.find_element(By.ID, "django-q-live").text
    [row] = activities([0], "b" * 32)
    row.successes = 987_654_000
    row.save()
    eventually(lambda: "Attempts: 98765" in browser.find_element(By.ID, "django-q-live").text, within=15)
    assert browser.execute_script("return window.isSamePage")


def test_clusters_stay_while_updates_are_off(browser, site, cluster) -> None:
    log_in(browser, site, "root", is_superuser=True)
    browser.get(f"{site}django_q/cluster/")
    eventually(lambda: browser.find_element(By.CSS_SELECTOR, "#django-q-updates input").is_displayed())
    browser.find_element(By.CSS_SELECTOR, "#django-q-updates input").click()
    requests = "return performance.getEntriesByType('resource').filter(each => each.initiatorType === 'fetch').length"
    before = browser.execute_script(requests)
    browser.set_script_timeout(10)
    browser.execute_async_script("setTimeout(arguments[0], 3500)")  # longer than the interval of updates
    assert browser.execute_script(requests) == before
    cluster.workers = [5001]
    cluster.save(get_broker())
    press(browser, "Refresh")
    eventually(lambda: "worker 5001" in browser.find_element(By.ID, "django-q-live").text)
