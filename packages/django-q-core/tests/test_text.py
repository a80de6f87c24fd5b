"""Any text, object or exception can be stored, logged and displayed."""

from __future__ import annotations

import pytest
from django_q import text


class Rude(Exception):
    def __str__(self) -> str:
        raise SystemExit(3)

    __repr__ = __str__


class Subclass(str):
    __slots__ = ()

    def __str__(self) -> str:
        return self

    def __len__(self) -> int:
        raise RuntimeError


@pytest.mark.parametrize(
    ("value", "stored"),
    [
        ("plain", "plain"),
        ("日本", "日本"),
        ("a\0b", "a\N{REPLACEMENT CHARACTER}b"),
        ("caf\udce9", "caf\N{REPLACEMENT CHARACTER}"),
        ("\ud83d\ude00", "\N{GRINNING FACE}"),
        ("\0\ud800日", "\N{REPLACEMENT CHARACTER}\N{REPLACEMENT CHARACTER}日"),
    ],
)
def test_unstorable_characters_are_replaced(value: str, stored: str) -> None:
    assert text.storable(value) == stored
    stored.encode()


def test_unprintable_object_is_described() -> None:
    assert text.text_of(Rude()) == "<unprintable Rude>"
    assert text.sentence_of(Rude()) == "<unprintable Rude>"
    assert "Rude" in text.traceback_of(Rude())


def test_text_of_a_subclass_of_str_is_plain() -> None:
    found = text.text_of(Subclass("x"))
    assert type(found) is str
    assert found == "x"


def test_huge_text_is_bounded_and_keeps_both_ends() -> None:
    found = text.text_of(ValueError("begin" + "x" * 30_000_000 + "end"))
    assert len(found) <= text.MAX_TEXT_CHARACTERS
    assert found.startswith("begin")
    assert found.endswith("end")
    assert "characters left out" in found


def test_line_has_no_line_breaks_and_no_control_characters() -> None:
    line = text.one_line("a\nb\r\x1b[31mc\u2028d")
    assert line.isprintable()
    assert line == "a\\nb\\r\\x1b[31mc\\u2028d"


def test_truncated_label_has_a_mark() -> None:
    assert text.truncated("x" * 100, 100) == "x" * 100
    assert text.truncated("x" * 101, 100) == "x" * 99 + "…"


def test_error_without_message_is_named_by_its_class() -> None:
    assert text.error_line(ValueError()) == "ValueError"
    assert text.error_line(KeyError("a\nb")) == "KeyError: 'a\\nb'"
    assert text.sentence_of(ValueError()) == "ValueError"


def test_ascii_only_escapes_other_characters() -> None:
    assert text.ascii_only("é日") == "\\xe9\\u65e5"
