"""The standard library of the Python that runs: what the demo measures."""

from __future__ import annotations

import os
import sysconfig
from pathlib import Path

LIBRARY = Path(sysconfig.get_path("stdlib"))
OTHERS = {"site-packages", "dist-packages"}


def modules() -> list[str]:
    """Path of every source file in it, its own tests included; what others installed is not part of it."""
    found = LIBRARY.rglob("*.py")
    return sorted(str(path) for path in found if path.is_file() and not OTHERS & set(path.relative_to(LIBRARY).parts))


def shorter(text: str) -> str:
    """The same with paths that fit on a line."""
    for folder in (Path(__file__).parents[2], LIBRARY):
        text = text.replace(f"{folder}{os.sep}", "")
    return text
