"""The catalogues of all distributions are complete and current."""

from __future__ import annotations

import re
from collections import Counter
from typing import TYPE_CHECKING

import pytest

pytest.importorskip("babel")

from babel.messages.mofile import read_mo

from tests.catalogues import LANGUAGES, PLURAL_FORMS, catalogue_path, extracted, read, sources, text_of, texts_of

if TYPE_CHECKING:
    from pathlib import Path

    from babel.messages.catalog import Catalog

TRANSLATED = [source for source in sources() if len(extracted(source))]
"""Distributions with visible strings."""

PLACEHOLDER = re.compile(r"%%|%(?:\(\w+\))?[\d.]*[dgs]|%(?=\()")

LOCATION = re.compile(r"#: [\w./ -]+")
"""Files that contain a string, without numbers of lines: relative paths, which do not begin with a slash."""


@pytest.fixture(params=LANGUAGES)
def language(request) -> str:
    """Language of a catalogue."""
    return request.param


@pytest.fixture(params=TRANSLATED, ids=lambda source: source.name)
def source(request) -> Path:
    """Folder of a distribution's module."""
    return request.param


@pytest.fixture
def catalogue(source, language) -> Catalog:
    """Return a catalogue."""
    return read(catalogue_path(source, language))


def entries(catalogue: Catalog) -> dict[tuple[str, ...], list[str]]:
    """Return the translations by string, or by singular and plural."""
    return {tuple(texts_of(message.id)): texts_of(message.string) for message in catalogue if message.id}


def test_core_and_database_broker_have_visible_strings() -> None:
    assert {"django_q", "django_q_orm"} <= {source.name for source in TRANSLATED}


def test_extraction_finds_strings_of_code_and_templates() -> None:
    found = entries(extracted(next(source for source in TRANSLATED if source.name == "django_q")))
    plural = ("%(count)d task was sent.", "%(count)d tasks were sent.")  # of a module
    help_text, of_template, of_block = "Starts a Django Q cluster.", "Update every 3 seconds", "Page %(number)s"
    assert {plural, (help_text,), (of_template,), (of_block,)} <= set(found)


def test_catalogue_has_exactly_the_strings_of_the_code(source, catalogue) -> None:
    assert set(entries(catalogue)) == set(entries(extracted(source))), "hatch run translations:update"


def test_no_entry_is_empty_fuzzy_or_obsolete(catalogue) -> None:
    assert [message.id for message in catalogue if message.id and not all(texts_of(message.string))] == []
    assert [message.id for message in catalogue if message.id and message.fuzzy] == []
    assert list(catalogue.obsolete) == []


def test_placeholders_are_those_of_the_string(catalogue) -> None:
    different = [
        message.id
        for message in catalogue
        if message.id
        for text in texts_of(message.string)
        if Counter(PLACEHOLDER.findall(text)) != Counter(PLACEHOLDER.findall(texts_of(message.id)[-1]))
    ]
    assert different == []


def test_spaces_and_colons_are_those_of_the_string(catalogue) -> None:
    different = [
        message.id
        for message in catalogue
        if message.id
        for text in texts_of(message.string)
        for english in [texts_of(message.id)[0]]
        if (text[:1] == " ", text[-1:] in " :") != (english[:1] == " ", english[-1:] in " :")
    ]
    assert different == []


def test_plurals_follow_the_rule_of_django(catalogue, language) -> None:
    assert f"nplurals={catalogue.num_plurals}; plural={catalogue.plural_expr};" == PLURAL_FORMS[language]


def test_compiled_catalogue_is_current(source, language, catalogue) -> None:
    with catalogue_path(source, language).with_suffix(".mo").open("rb") as file:
        assert entries(read_mo(file)) == entries(catalogue), "hatch run translations:update"


def test_file_has_no_line_numbers_and_no_paths_of_a_machine(source, language, catalogue) -> None:
    lines = catalogue_path(source, language).read_text(encoding="utf-8").splitlines()
    assert [line for line in lines if line.startswith("#:") and not LOCATION.fullmatch(line)] == []
    assert [*lines, ""] == text_of(catalogue).split("\n"), "hatch run translations:update"
