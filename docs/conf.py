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

README = re.compile(r"\]\(\.\./\.\./packages/([\w-]+)/README\.md")
"""Link to the README of a distribution, which is a page of the site."""


def link_distributions(app: Sphinx, name: str, content: list[str]) -> None:
    """Replace links to READMEs by links to their pages."""
    content[0] = README.sub(r"](../distributions/\1.md", content[0])


def setup(app: Sphinx) -> None:
    """Connect the function above."""
    app.connect("source-read", link_distributions)
