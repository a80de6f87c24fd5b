"""Makes the screenshots of the documentation: `hatch run screenshots:make`.

The small site of the tutorial runs with a cluster, in a temporary folder. Chromium opens its admin. The screen of
`qmonitor` is read from a pseudo-terminal.
"""

from __future__ import annotations

import html
import os
import re
import shutil
import signal
import subprocess
import sys
from contextlib import contextmanager
from io import BytesIO
from pathlib import Path
from tempfile import gettempdir
from types import SimpleNamespace
from typing import TYPE_CHECKING
from urllib.parse import quote
from uuid import uuid4

import django
from django.core.files.base import ContentFile
from django.core.management import call_command
from PIL import Image
from selenium import webdriver
from selenium.webdriver.common.by import By

if TYPE_CHECKING:
    from collections.abc import Iterator

    from tests.acceptance.pseudo_terminal import PseudoTerminal

DOCS = Path(__file__).resolve().parent
IMAGES = DOCS / "images"

WIDTH_PIXELS, HEIGHT_PIXELS = 1440, 600

PALETTE_COLOURS = 64
"""Colours of a file: few are enough for text, and make it small."""

ADMIN_PAGES = {
    "success": "django_q/success/",
    "schedules": "django_q/schedule/",
    "queues": "django_q/queue/",
    "clusters": "django_q/cluster/",
}
"""Pages of the admin, by the name of their file."""

TERMINAL_COLOURS = {"green": "#6fcf7c", "red": "#ff8b80", "brown": "#e6c35c", "blue": "#8db4ea", "cyan": "#6cd0d6"}
"""Colours of the terminal on a dark background."""


@contextmanager
def process(folder: Path, *arguments: str) -> Iterator[Path]:
    """Run a command of `manage.py` in the background, and yield the path of its log."""
    log = folder / f"{arguments[0]}.log"
    with log.open("w") as file:
        running = subprocess.Popen(
            [sys.executable, "-u", "manage.py", *arguments],
            cwd=folder,
            stdout=file,
            stderr=file,
            start_new_session=True,
        )
    try:
        yield log
    finally:
        running.send_signal(signal.SIGTERM)
        running.wait(60)


@contextmanager
def browser() -> Iterator[webdriver.Chrome]:
    """Start Chromium without a window."""
    options = webdriver.ChromeOptions()
    for argument in ("--headless=new", "--no-sandbox", "--disable-dev-shm-usage", "--hide-scrollbars"):
        options.add_argument(argument)
    driver = webdriver.Chrome(options=options, service=webdriver.ChromeService(shutil.which("chromedriver")))
    try:
        driver.implicitly_wait(10)
        yield driver
    finally:
        driver.quit()


def take(driver: webdriver.Chrome, name: str, width: int = WIDTH_PIXELS, height: int = HEIGHT_PIXELS) -> None:
    """Write the page of the browser to a file of the folder `images`."""
    metrics = {"width": width, "height": height, "deviceScaleFactor": 1, "mobile": False}
    driver.execute_cdp_cmd("Emulation.setDeviceMetricsOverride", metrics)
    picture = Image.open(BytesIO(driver.get_screenshot_as_png())).convert("RGB").quantize(PALETTE_COLOURS)
    picture.save(IMAGES / f"{name}.png", optimize=True)


def jpeg() -> bytes:
    """Return the bytes of a picture."""
    content = BytesIO()
    Image.new("RGB", (1200, 600), "orange").save(content, "JPEG")
    return content.getvalue()


def upload(content: bytes, count: int = 1) -> None:
    """Upload pictures, and send their tasks."""
    from django.db import transaction
    from pictures.models import Picture
    from pictures.tasks import send_thumbnails

    for _ in range(count):
        with transaction.atomic():
            picture = Picture.objects.create(original=ContentFile(content, "sun.jpg"), email="ann@example.com")
            send_thumbnails(picture)


def fill() -> None:
    """Create a user, and wait until the cluster has executed tasks of which some fail."""
    from django.contrib.auth.models import User
    from django_q.models import Failure, Schedule
    from django_q.tasks import async_task
    from django_q.testing import eventually
    from pictures.models import Picture

    User.objects.create_superuser("ann", password="ann")
    upload(jpeg(), count=3)
    upload(jpeg()[:-1000])
    eventually(lambda: not Picture.objects.filter(finished_at=None).exists(), within=60)
    async_task.options(ack_failure=True)("pictures.tasks.mail_result", str(uuid4()))  # there is no such picture
    eventually(lambda: Failure.objects.count() > 1 and Schedule.objects.exists(), within=60)


def show_admin(driver: webdriver.Chrome, site: str) -> None:
    """Make the screenshots of the admin."""
    from django_q.models import Failure

    driver.get(f"{site}admin/")
    driver.find_element(By.NAME, "username").send_keys("ann")
    driver.find_element(By.NAME, "password").send_keys("ann")
    driver.find_element(By.CSS_SELECTOR, "input[type=submit]").click()
    driver.find_element(By.ID, "user-tools")
    failure = Failure.objects.get(func="pictures.tasks.mail_result")
    for name, path in {**ADMIN_PAGES, "failure": f"django_q/failure/{failure.pk}/change/"}.items():
        driver.get(f"{site}admin/{path}")
        take(driver, f"admin-{name}", height=900 if name == "failure" else HEIGHT_PIXELS)


def page_of(terminal: PseudoTerminal) -> str:
    """Return the screen of a terminal as HTML."""
    rows = []
    for line in range(terminal.screen.lines):
        cells = [terminal.screen.buffer[line][column] for column in range(terminal.screen.columns)]
        rows.append("".join(styled(cell) for cell in cells))
    style = "margin:0;padding:12px;background:#16191d;color:#e8ebef;font:16px/1.3 monospace"
    return f'<meta charset="utf-8"><body style="margin:0"><pre style="{style}">' + "\n".join(rows) + "</pre>"


def styled(cell: SimpleNamespace) -> str:
    """Return a character of a terminal as HTML."""
    colours = [TERMINAL_COLOURS.get(cell.fg, "#e8ebef"), "#16191d"]
    foreground, background = reversed(colours) if cell.reverse else colours
    weight = "bold" if cell.bold else "normal"
    style = f"color:{foreground};background:{background};font-weight:{weight}"
    return f'<span style="{style}">{html.escape(cell.data)}</span>'


def show_monitor(driver: webdriver.Chrome, folder: Path) -> None:
    """Make the screenshot of `qmonitor`."""
    from tests.acceptance.pseudo_terminal import pseudo_terminal

    path = os.pathsep.join([str(folder), os.environ.get("PYTHONPATH", "")])
    place = SimpleNamespace(folder=folder, environment={**os.environ, "PYTHONPATH": path})
    with pseudo_terminal(place, "qmonitor", columns=100, lines=6) as terminal:
        terminal.shows(lambda lines: any("Idle" in line or "Working" in line for line in lines), within=30)
        driver.get("data:text/html;charset=utf-8," + quote(page_of(terminal)))
    take(driver, "qmonitor", width=990, height=150)


@contextmanager
def copy_of(project: Path) -> Iterator[Path]:
    """Copy a project to a temporary folder with a plain name, which tracebacks show."""
    folder = Path(gettempdir(), "pictures")
    shutil.copytree(project, folder)  # an error if it exists: it is not ours
    try:
        yield folder
    finally:
        shutil.rmtree(folder)


def main() -> None:
    """Make all screenshots."""
    sys.path.insert(0, str(DOCS.parent))
    with copy_of(DOCS / "examples" / "pictures") as folder:
        sys.path.insert(0, str(folder))
        os.environ["DJANGO_SETTINGS_MODULE"] = "mysite.settings"
        django.setup()
        from django_q.testing import eventually

        call_command("migrate", verbosity=0)
        with (
            process(folder, "qcluster"),
            process(folder, "runserver", "127.0.0.1:0", "--noreload") as log,
            browser() as driver,
        ):
            fill()
            site = eventually(lambda: re.search(r"http://127\.0\.0\.1:\d+/", log.read_text()), within=60)[0]
            show_admin(driver, site)
            show_monitor(driver, folder)


if __name__ == "__main__":
    main()
