"""The small site of the tutorial: its page and its project have the same code, and a cluster serves a visitor."""

from __future__ import annotations

import os
import re
import shutil
import subprocess
import sys
import urllib.request
from http.cookiejar import CookieJar
from io import BytesIO
from urllib.parse import urljoin

import pytest
from django.core.files.uploadedfile import SimpleUploadedFile
from django.test.client import BOUNDARY, MULTIPART_CONTENT, encode_multipart
from django_q.testing import eventually
from PIL import Image

from tests.docs.pages import DOCS, blocks_of
from tests.docs.terminal import Terminal

pytestmark = pytest.mark.variant

PAGE = DOCS / "tutorial" / "a-small-site.md"
PROJECT = DOCS / "examples" / "pictures"

GENERATED = re.compile(r"manage\.py|.*__init__\.py|.*/migrations/.*")
"""Files of the project that Django writes."""


CLUSTER, SERVER = "python manage.py qcluster", "python manage.py runserver"

REPLACED = {
    CLUSTER: "",  # runs in the background
    SERVER: "",
    "python3 -m venv .venv": "uv venv -q --python python .venv",  # in a second: test_first_task runs it as printed
    'pip install "django-q-core[orm]" pillow': 'uv pip install -q "django-q-core[orm]" pillow',
}


@pytest.fixture
def site(tmp_path, reader) -> Terminal:
    """Shell of a reader who has built the site as the page says, with our wheels and the newest Django."""
    terminal = Terminal(tmp_path, reader)
    assert terminal.follow(PAGE, REPLACED) == []
    return terminal


class Visitor:
    """Browser without JavaScript.

    Args:
        address: address of the site.
    """

    def __init__(self, address: str) -> None:
        self.address = address
        self.cookies = CookieJar()
        self.opener = urllib.request.build_opener(urllib.request.HTTPCookieProcessor(self.cookies))

    def upload(self, picture: bytes) -> tuple[str, str]:
        """Upload a picture with the form, and return the address and the text of the page that follows."""
        form = self.opener.open(self.address, timeout=30).read().decode()
        token = re.search(r'name="csrfmiddlewaretoken" value="(\w+)"', form)
        file = SimpleUploadedFile("sun.jpg", picture, "image/jpeg")
        fields = {"csrfmiddlewaretoken": token[1], "email": "ann@example.com", "original": file}
        body = encode_multipart(BOUNDARY, fields)
        request = urllib.request.Request(self.address, body, {"Content-Type": MULTIPART_CONTENT})
        with self.opener.open(request, timeout=30) as page:
            return page.url, page.read().decode()

    def read(self, address: str) -> bytes:
        """Return the content of an address."""
        with self.opener.open(address, timeout=30) as page:
            return page.read()


def picture() -> bytes:
    """Return a JPEG of 1200 x 600 pixels."""
    content = BytesIO()
    Image.new("RGB", (1200, 600), "orange").save(content, "JPEG")
    return content.getvalue()


def test_page_and_project_have_the_same_code() -> None:
    printed = {block.file: block.code.partition("\n")[2] for block in blocks_of(PAGE, "html+django", "python")}
    files = {
        str(file.relative_to(PROJECT)): file.read_text()
        for file in PROJECT.rglob("*")
        if file.suffix in (".html", ".py") and not GENERATED.fullmatch(str(file.relative_to(PROJECT)))
    }
    assert printed.keys() == files.keys()
    settings = "mysite/settings.py"
    assert files.pop(settings).endswith(f"\n\n{printed.pop(settings)}")
    assert printed == files


def test_project_passes_its_own_tests(tmp_path) -> None:
    folder = shutil.copytree(PROJECT, tmp_path / "pictures")
    environment = {**os.environ}
    environment.pop("DJANGO_SETTINGS_MODULE", None)
    for arguments in (("test",), ("makemigrations", "--check", "--dry-run")):
        done = subprocess.run(
            [sys.executable, "manage.py", *arguments],
            cwd=folder, env=environment, text=True, capture_output=True, check=False, timeout=120,
        )  # fmt: skip
        assert done.returncode == 0, done.stdout + done.stderr
        assert "test" not in arguments or "Ran 5 tests" in done.stderr


def test_visitor_gets_thumbnails_and_a_mail(site) -> None:
    assert "Ran 5 tests" in site.output["python manage.py test"]
    with site.running(f"{SERVER} 127.0.0.1:0 --noreload", ready="Quit the server") as log:
        visitor = Visitor(re.search(r"http://127\.0\.0\.1:\d+/", log())[0])
        address, page = visitor.upload(picture())
        assert "0 of 3 thumbnails are ready" in page
        assert 'http-equiv="refresh"' in page
        with site.running(CLUSTER, ready=" running. [mysite]") as cluster_log:
            eventually(lambda: "all thumbnails are ready" in visitor.read(address).decode(), within=60, every=0.2)
            [mail] = eventually(lambda: list((site.folder / "mails").glob("*.log")), within=30)
            eventually(lambda: address.rpartition("/pictures/")[2][:9] in mail.read_text())  # a line may break after it
            assert "cache" not in site.run("python manage.py qmonitor --run-once")
            logs = log() + cluster_log()
        assert "Cache" not in logs
        thumbnails = re.findall(r'<img src="([^"]+)"', visitor.read(address).decode())
        sizes = [Image.open(BytesIO(visitor.read(urljoin(address, each)))).size for each in thumbnails]
    assert sizes == [(64, 32), (256, 128), (1024, 512)]
    assert "3 of 3 thumbnails are ready: http://127.0.0.1:8000/pictures/" in mail.read_text()
    assert "To: ann@example.com" in mail.read_text()
