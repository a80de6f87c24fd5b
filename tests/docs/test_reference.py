"""The generated pages agree with the code."""

from __future__ import annotations

import importlib.util

import pytest

from tests.docs.pages import DOCS

spec = importlib.util.spec_from_file_location("generate", DOCS / "generate.py")
generate = importlib.util.module_from_spec(spec)
spec.loader.exec_module(generate)


@pytest.mark.parametrize("page", generate.PAGES)
def test_page_agrees_with_the_code(page):
    assert (DOCS / page).read_text(encoding="utf-8") == generate.PAGES[page](), "run `hatch run reference`"


def test_each_setting_has_a_type_and_an_origin():
    page = generate.settings_page()
    assert page.count("*Origin:") == page.count("### `")
    for origin in generate.ORIGINS:
        assert origin not in page
    assert "Manual 1" not in page
