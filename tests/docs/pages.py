"""Reads the code blocks of the documentation."""

from __future__ import annotations

import re
from pathlib import Path
from typing import NamedTuple

REPOSITORY = Path(__file__).parents[2]
DOCS = REPOSITORY / "docs"

BLOCK = re.compile(r"^( *)```([\w+]+)\n(.*?)^\1```", re.MULTILINE | re.DOTALL)
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


def blocks_of(page: Path, *languages: str) -> list[Block]:
    """Return the code blocks of a page, of some languages."""
    found = BLOCK.findall(page.read_text(encoding="utf-8"))
    blocks = [Block(name, re.sub(f"^{indent}", "", code, flags=re.MULTILINE)) for indent, name, code in found]
    return [block for block in blocks if block.language in languages]


def pages() -> list[Path]:
    """Return all pages for users: the documentation, and the READMEs."""
    return [
        REPOSITORY / "README.md",
        *sorted(DOCS.glob("*/*.md")),
        DOCS / "index.md",
        *REPOSITORY.glob("packages/*/README.md"),
    ]


def write_project(page: Path, folder: Path) -> None:
    """Write the files of a page to a folder, each from the block that names it."""
    for block in blocks_of(page, "python", "toml"):
        if block.file:
            (folder / block.file).parent.mkdir(parents=True, exist_ok=True)
            (folder / block.file).write_text(block.code, encoding="utf-8")
