"""The tutorial works as printed: its commands, files and prompts make a site whose cluster executes the tasks."""

from __future__ import annotations

import pytest

from tests.docs.pages import DOCS
from tests.docs.tutorial_site import TutorialSite

pytestmark = pytest.mark.variant


def test_tutorial_works_as_printed(tmp_path) -> None:
    site = TutorialSite(DOCS / "tutorial" / "first-task.md", tmp_path)
    with site.running("qcluster") as log:
        success, failure = [site.run("python", "manage.py", "shell", text=f"{prompt}\n") for prompt in site.prompts]
    assert "to: 2" in success.splitlines()
    assert "ValueError: not enough values to unpack" in failure
    assert "finished: to: 2" in log()
    assert "Processed 'mysite.tasks.most_common_word'" in log()
