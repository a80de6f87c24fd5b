"""The language check finds each kind of mistake, and accepts the other senses of banned words.

The examples are in text files, so that the check does not find them in this one.
"""

from __future__ import annotations

import subprocess
from pathlib import Path

import pytest

from docs import check_language
from docs.check_language import Rules, in_markdown, in_python, listed, mistakes

RULES = Rules.read(check_language.ROOT / "pyproject.toml")
SPAM = Rules(banned=("spam", "in aspic"), allowed=("spam filter",), constants=("BIG",), first_words=("what", "how"))


def examples(name):
    return (Path(__file__).parent / name).read_text(encoding="utf-8").splitlines()


def messages(found):
    return [message for _, message in found]


@pytest.mark.parametrize("text", [line.partition(": ")[2] for line in examples("rejected.txt")])
def test_banned_word_is_rejected(text):
    assert messages(in_markdown(text, RULES))
    assert messages(in_python(f'"""{text}"""\n', RULES))
    assert messages(in_python(f"x = 1  # {text}\n", RULES))
    assert messages(in_python(f"raise ValueError({text!r})\n", RULES))


@pytest.mark.parametrize("text", examples("accepted.txt"))
def test_other_words_are_accepted(text):
    assert messages(in_markdown(text, RULES)) == []
    assert messages(in_python(f'"""{text}"""\nx = {text!r}  # {text}\n', RULES)) == []


@pytest.mark.parametrize("word", ["What", "Who", "Whoever", "Whether", "How", "Which"])
@pytest.mark.parametrize("code", ['"""{}"""', 'def f():\n    """{}"""', 'class C:\n    x = 1\n    """{}"""'])
def test_docstring_that_begins_with_a_question_word_is_rejected(word, code):
    assert f"docstring begins with: {word}" in messages(in_python(code.format(f"{word} it is."), RULES))


def test_docstring_that_asks_is_rejected():
    assert messages(in_python('"""Is there\na task?"""', RULES)) == ["docstring is a question"]
    assert messages(in_python('"""Return a task. Why? See there."""', RULES)) == []
    assert messages(in_python("x = 'What is it?'", RULES)) == []


def test_line_of_a_mistake_is_reported():
    assert list(in_markdown("Good.\n\nA spam.\n", SPAM)) == [(3, "banned: spam")]
    assert list(in_python('"""Good.\n\nA spam.\n"""\n', SPAM)) == [(3, "banned: spam")]


def test_phrase_that_a_line_break_divides_is_found():
    assert messages(in_markdown("ham in\naspic", SPAM)) == ["banned: in aspic"]
    assert messages(in_python("x = 1\n# ham in\n# aspic\n", SPAM)) == ["banned: in # aspic"]


@pytest.mark.parametrize(
    "code",
    ["def spam(): ...", "class SpamCan: ...", "spam = 1", "self.old_spam = 1", "def f(spam): ...", "IN_ASPIC = 1"],
)
def test_banned_name_is_rejected(code):
    assert len(messages(in_python(code, SPAM))) == 1


def test_name_of_another_module_is_accepted():
    assert messages(in_python("from cans import spam\nprint(spam, cans.spam)\n", SPAM)) == []


def test_constant_without_noun_and_unit_is_rejected():
    assert messages(in_python("BIG = 1\nBIG_ROWS = 2\n", SPAM)) == ["constant without noun and unit: BIG"]


def test_code_in_prose_is_accepted():
    assert messages(in_markdown("Call `spam`, see [it](spam.md).\n\n```\nspam\n```\n", SPAM)) == []
    assert messages(in_python('"""Call `spam`."""', SPAM)) == []


def test_string_without_a_space_is_data():
    assert messages(in_python("x = {'spam': 1}", SPAM)) == []


def test_f_string_is_checked():
    assert messages(in_python("x = f'a spam of {1}'", SPAM)) == ["banned: spam"]


def test_other_sense_of_a_banned_word_is_accepted():
    assert messages(in_markdown("A spam\nfilter, no antispam.", SPAM)) == []


def test_exempt_files_and_folders_are_not_checked(tmp_path):
    (tmp_path / "sub").mkdir()
    for name in ("a.md", "b.md", "sub/c.md"):
        (tmp_path / name).write_text("spam", encoding="utf-8")
    rules = Rules(banned=("spam",), allowed=(), constants=(), first_words=(), exempt=("a.md", "sub/"))
    assert list(mistakes(tmp_path, ["a.md", "b.md", "sub/c.md"], rules)) == ["b.md:1: banned: spam"]


def test_new_files_are_checked(tmp_path):
    subprocess.run(["git", "init", "-q"], cwd=tmp_path, check=True)
    (tmp_path / "new.md").write_text("ham", encoding="utf-8")
    (tmp_path / "new.txt").write_text("ham", encoding="utf-8")
    assert listed(tmp_path) == ["new.md"]
