"""Source files of the running Python's standard library, which the demo measures."""

from __future__ import annotations

import os
import sysconfig
from pathlib import Path

LIBRARY = Path(sysconfig.get_path("stdlib"))
OTHERS = {"site-packages", "dist-packages"}


def modules() -> list[str]:
    """Return the path of each source file, including tests and without installed packages."""
    found = LIBRARY.rglob("*.py")
    return sorted(str(path) for path in found if path.is_file() and not OTHERS & set(path.relative_to(LIBRARY).parts))


def shorter(text: str) -> str:
    """Return the paths that fit on a line."""
    for folder in (Path(__file__).parents[2], LIBRARY):
        text = text.replace(f"{folder}{os.sep}", "")
    return text
