"""Configures Sphinx: `hatch run docs:build` writes the site to docs/_build."""

from __future__ import annotations

import re
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from sphinx.application import Sphinx

project = "Django Q"
html_title = project
html_theme = "furo"
extensions = ["myst_parser"]
source_suffix = {".md": "markdown"}
exclude_patterns = ["_build"]
nitpicky = True

myst_heading_anchors = 3

PAGES = {
    re.compile(r"\]\(\.\./\.\./packages/([\w-]+)/README\.md"): r"](../distributions/\1.md",
    re.compile(r"\]\(\.\./\.\./CONTRIBUTING\.md"): "](../contributing/commands.md",
}
"""Links to files outside of this folder that a page of the site includes, and the link to that page."""


def link_included(app: Sphinx, name: str, content: list[str]) -> None:
    """Replace links to included files by links to their pages."""
    for link, page in PAGES.items():
        content[0] = link.sub(page, content[0])


def setup(app: Sphinx) -> None:
    """Connect the function above."""
    app.connect("source-read", link_included)
