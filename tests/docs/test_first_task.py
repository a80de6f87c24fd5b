"""The tutorial works as printed, with our wheels and the newest Django: its cluster executes the tasks."""

from __future__ import annotations

import re
import urllib.request

import pytest
from django_q.testing import eventually

from tests.docs.pages import DOCS, blocks_of, unprinted
from tests.docs.terminal import Terminal

pytestmark = pytest.mark.variant

PAGE = DOCS / "tutorial" / "first-task.md"
CLUSTER, SERVER = "python manage.py qcluster", "python manage.py runserver"

REPLACED = {
    CLUSTER: "",  # runs in the background
    SERVER: "",
    "python manage.py createsuperuser": "python manage.py createsuperuser --noinput --email ''",  # asks questions
}
SUPERUSER = {"DJANGO_SUPERUSER_USERNAME": "ann", "DJANGO_SUPERUSER_PASSWORD": "for tests only"}


def test_tutorial_works_as_printed(tmp_path, reader) -> None:
    terminal = Terminal(tmp_path, reader | SUPERUSER)
    prompts = terminal.follow(PAGE, REPLACED)
    log, *outputs = [block.code for block in blocks_of(PAGE, "text")]
    with terminal.running(CLUSTER, ready=" running. [mysite]") as cluster:
        eventually(lambda: unprinted(log, cluster()) == [])
        for prompt, output in zip(prompts, outputs, strict=True):
            assert unprinted(output, terminal.run("python manage.py shell", text=f"{prompt}\n")) == []
        eventually(lambda: "finished: to: 2" in cluster())
        assert "Processed 'mysite.tasks.most_common_word'" in cluster()
    with terminal.running(f"{SERVER} 127.0.0.1:0 --noreload", ready="Quit the server") as server:
        address = re.search(r"http://127\.0\.0\.1:\d+/", server())[0]
        with urllib.request.urlopen(f"{address}admin/", timeout=30) as page:
            assert page.url.endswith("/admin/login/?next=/admin/")
