"""Extracts the visible strings of the distributions, and updates and compiles their catalogues.

`hatch run translations:update` calls it. Babel does the work, so that no program of the system is needed.
"""

from __future__ import annotations

import sys
from datetime import UTC, datetime
from io import BytesIO
from pathlib import Path
from typing import TYPE_CHECKING, Final

from babel.messages.catalog import Catalog
from babel.messages.extract import extract
from babel.messages.mofile import write_mo
from babel.messages.pofile import read_po, write_po
from django.utils.translation.template import templatize

if TYPE_CHECKING:
    from collections.abc import Iterator

PACKAGES: Final = Path(__file__).parent.parent / "packages"

LANGUAGES: Final = ("de", "fr")
"""Languages of the catalogues. The strings in the code are English."""

KEYWORDS: Final = {
    "_": None,
    "gettext": None,
    "gettext_lazy": None,
    "gettext_noop": None,
    "ngettext": (1, 2),
    "ngettext_lazy": (1, 2),
    "npgettext": ((1, "c"), 2, 3),
    "pgettext": ((1, "c"), 2),
    "pgettext_lazy": ((1, "c"), 2),
}
"""Functions whose arguments are extracted: the positions of the message, its plural, and its context."""

UNCHANGING_DATE: Final = datetime(2026, 1, 1, tzinfo=UTC)
"""Date in the headers of compiled catalogues, so that those with the same strings are the same files."""

PLURAL_FORMS: Final = {"de": "nplurals=2; plural=(n != 1);", "fr": "nplurals=2; plural=(n > 1);"}
"""Rules of the plurals, as in Django's own catalogues."""


def sources() -> list[Path]:
    """Return the folders of the modules of all distributions."""
    return sorted(path.parent for path in PACKAGES.glob("*/src/*/__init__.py"))


def extracted(source: Path) -> Catalog:
    """Return the strings of a distribution's code and templates, with the files that contain them.

    Args:
        source: folder of its module.
    """
    found = Catalog()
    for path in sorted(source.rglob("*")):
        if path.suffix in (".py", ".html"):
            for message, context in strings(path):
                found.add(message, context=context, locations=[(path.relative_to(source).as_posix(), 1)])
    return found


def strings(path: Path) -> Iterator[tuple[str | tuple[str, str], str | None]]:
    """Yield the strings of a file, or pairs of singular and plural, each with its context."""
    text = path.read_text(encoding="utf-8")
    if path.suffix == ".html":
        # Django makes calls of functions out of the tags. Without indentation, they are statements of Python.
        text = "\n".join(line.strip() for line in templatize(text, origin=str(path)).splitlines())
    for _line, message, _comments, context in extract("python", BytesIO(text.encode()), keywords=KEYWORDS):
        yield message, context


def catalogue_path(source: Path, language: str) -> Path:
    """Return the path of the catalogue of a distribution in a language."""
    return source / "locale" / language / "LC_MESSAGES" / "django.po"


def read(path: Path) -> Catalog:
    """Return a catalogue."""
    with path.open("rb") as file:
        return read_po(file)


def update(source: Path, language: str) -> int:
    """Write a catalogue with all strings of a distribution, and compile it.

    Translations of unchanged strings are kept. Those of removed strings are deleted.

    Returns:
        The number of strings that need a translation.
    """
    path, template = catalogue_path(source, language), extracted(source)
    catalogue = read(path) if path.exists() else Catalog(language)
    template.creation_date = catalogue.revision_date = UNCHANGING_DATE
    catalogue.update(template, no_fuzzy_matching=True)
    catalogue.obsolete.clear()
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text(text_of(catalogue), encoding="utf-8")
    with path.with_suffix(".mo").open("wb") as file:
        write_mo(file, catalogue)
    return sum(not all(texts_of(message.string)) for message in catalogue if message.id)


def text_of(catalogue: Catalog) -> str:
    """Return the text of a catalogue: a header without times and tools, then its strings with the names of files."""
    header = {
        "Language": catalogue.locale,
        "Content-Type": "text/plain; charset=utf-8",
        "Content-Transfer-Encoding": "8bit",
        "Plural-Forms": PLURAL_FORMS[str(catalogue.locale)],
    }
    lines = ['msgid ""', 'msgstr ""', *(f'"{name}: {value}\\n"' for name, value in header.items())]
    output = BytesIO()
    write_po(output, catalogue, width=116, omit_header=True, include_lineno=False, sort_output=True)
    return "\n".join([*lines, "", output.getvalue().decode().strip(), ""])


def texts_of(text: str | list[str] | tuple[str, ...] | None) -> list[str]:
    """Return a string, or singular and plural, as a list."""
    return [text or ""] if text is None or isinstance(text, str) else list(text)


def main() -> int:
    """Update all catalogues; return 1 if strings need a translation."""
    missing = 0
    for source in sources():
        for language in LANGUAGES if len(extracted(source)) else ():
            count = update(source, language)
            path = catalogue_path(source, language).relative_to(PACKAGES)
            sys.stdout.write(f"{path}: {count} strings need a translation\n")
            missing += count
    return 1 if missing else 0


if __name__ == "__main__":
    sys.exit(main())
