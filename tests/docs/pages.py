"""Reads the code blocks of the documentation."""

from __future__ import annotations

import re
from pathlib import Path
from typing import TYPE_CHECKING, NamedTuple

if TYPE_CHECKING:
    from collections.abc import Iterable

REPOSITORY = Path(__file__).parents[2]
DOCS = REPOSITORY / "docs"

BLOCK = re.compile(r"^( *)```([^\n]*)\n(.*?)^\1```$", re.MULTILINE | re.DOTALL)
CHANGES = re.compile(r"\d+|\b[a-z]+(?:-[a-z]+){3}\b")
"""Numbers, and names of clusters and tasks, which are others each time."""
FILE = re.compile(r"(?:\{)?# ([\w/]+\.(?:html|py|toml))(?: #\})?\n")


class Block(NamedTuple):
    """A code block of a page."""

    language: str
    code: str

    @property
    def file(self) -> str | None:
        """Path of the file that the block is to be written to, which its first line names."""
        found = FILE.match(self.code)
        return found[1] if found else None

    def write(self, folder: Path) -> None:
        """Write its file below a folder. What a page has for the settings of a site is added to them."""
        path = folder / self.file
        path.parent.mkdir(parents=True, exist_ok=True)
        with path.open("a" if path.name == "settings.py" else "w", encoding="utf-8") as file:
            file.write(self.code)


def blocks_of(page: Path, *languages: str) -> list[Block]:
    """Return the code blocks of a page, of some languages, or all but Sphinx's directives."""
    found = BLOCK.findall(page.read_text(encoding="utf-8"))
    blocks = [Block(name, re.sub(f"^{indent}", "", code, flags=re.MULTILINE)) for indent, name, code in found]
    return [each for each in blocks if (each.language in languages if languages else "{" not in each.language)]


def commands_of(pages: Iterable[Path]) -> list[str]:
    """Return each command of some pages, once, without its comment."""
    lines = [line for page in pages for block in blocks_of(page, "shell") for line in block.code.splitlines()]
    return list(dict.fromkeys(line.partition("  #")[0].rstrip() for line in lines))


def unprinted(expected: str, output: str) -> list[str]:
    """Return the lines of a page's block that a command did not print. Numbers and generated names may differ."""
    printed = {CHANGES.sub("…", line).strip() for line in output.splitlines()}
    return [line for line in expected.splitlines() if CHANGES.sub("…", line).strip() not in printed]


def pages() -> list[Path]:
    """Return all pages: those for users and contributors, and the READMEs."""
    return [
        *(REPOSITORY / name for name in ("CONTRIBUTING.md", "README.md", "SECURITY.md")),
        *sorted(DOCS.glob("*/*.md")),
        DOCS / "index.md",
        *REPOSITORY.glob("packages/*/README.md"),
    ]


def write_project(page: Path, folder: Path) -> None:
    """Write the files of a page to a folder, each from the block that names it."""
    for block in blocks_of(page, "python", "toml"):
        if block.file:
            block.write(folder)
