"""Check Markdown: targets of relative links exist, Python blocks compile, and each page names its reader first."""

from __future__ import annotations

import re
import subprocess
import sys
from pathlib import Path
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from collections.abc import Iterator

ROOT = Path(__file__).parent.parent
LINK = re.compile(r"\]\((?!\w+:|#)([^)#\s]+)[^)]*\)")
READER = re.compile(r"# .+\n\nFor ")
"""Title of a page, and the beginning of its first paragraph."""
BLOCK = re.compile(r"^```python\n(.*?)^```", re.MULTILINE | re.DOTALL)


def mistakes(page: Path) -> Iterator[str]:
    """Yield the mistakes of a page."""
    text = page.read_text(encoding="utf-8")
    for link in LINK.findall(text):
        if not (page.parent / link).exists():
            yield f"{page.relative_to(ROOT)}: {link} does not exist"
    if is_of_the_site(page) and not text.startswith("```{include}") and not READER.match(text):
        yield f"{page.relative_to(ROOT)}: the first paragraph does not begin with its reader: 'For developers …'"
    for block in BLOCK.findall(text):
        try:
            compile(block, str(page), "exec")
        except SyntaxError as error:
            yield f"{page.relative_to(ROOT)}: {error.msg}: {error.text}"


def is_of_the_site(page: Path) -> bool:
    """Return True for pages of the site, and for the files that its pages include."""
    return page.is_relative_to(ROOT / "docs") or page.name == "CONTRIBUTING.md" or page.match("packages/*/README.md")


def pages() -> list[Path]:
    """Return the Markdown files under version control."""
    listed = subprocess.run(["git", "ls-files", "*.md"], cwd=ROOT, capture_output=True, check=True, text=True)
    return [ROOT / name for name in listed.stdout.splitlines() if (ROOT / name).exists()]


if __name__ == "__main__":
    found = [mistake for page in pages() for mistake in mistakes(page)]
    sys.stdout.write("\n".join([*found, f"{len(pages())} pages, {len(found)} mistakes", ""]))
    sys.exit(bool(found))
