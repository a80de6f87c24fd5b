"""Check the language of Markdown and Python files by the rules in `[tool.language]` of pyproject.toml.

In Markdown, prose is checked: no code blocks, code spans or link targets. In Python, these are checked: comments,
docstrings, strings that contain a space, and names that the file defines.
"""

from __future__ import annotations

import ast
import io
import re
import subprocess
import sys
import tokenize
import tomllib
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from collections.abc import Iterable, Iterator

ROOT = Path(__file__).parent.parent
FENCE = re.compile(r"^( *)(```|~~~).*?^\1\2", re.MULTILINE | re.DOTALL)
CODE_SPAN = re.compile(r"(`+)(?!`)(?:(?!\n\s*\n).)+?(?<!`)\1(?!`)", re.DOTALL)
LINK_TARGET = re.compile(r"(?<=\])\([^)]*\)|<[^<>]*>|https?://\S+")
HUMP = re.compile(r"(?<=[a-z0-9])(?=[A-Z])")


@dataclass(frozen=True, kw_only=True)
class Rules:
    """Rules of `[tool.language]`. Phrases are regular expressions; a space matches any space, hyphen or underscore."""

    banned: tuple[str, ...]
    """Phrases that no text and no name contains."""
    allowed: tuple[str, ...]
    """Phrases that contain a banned word in another sense."""
    constants: tuple[str, ...]
    """Names of constants that tell neither noun nor unit."""
    first_words: tuple[str, ...]
    """Words that no docstring begins with."""
    exempt: tuple[str, ...] = ()
    """Files or folders that quote others. A folder ends in a slash."""

    @classmethod
    def read(cls, path: Path) -> Rules:
        """Return the rules of a pyproject.toml."""
        table = tomllib.loads(path.read_text(encoding="utf-8"))["tool"]["language"]
        return cls(**{key: tuple(values) for key, values in table.items()})

    def phrases(self, text: str) -> Iterator[tuple[int, str]]:
        """Yield position and text of each banned phrase."""
        masked = _pattern(self.allowed).sub(_blank, text) if self.allowed else text
        for match in _pattern(self.banned).finditer(masked):
            yield match.start(), " ".join(match[0].split())


def _pattern(phrases: Iterable[str]) -> re.Pattern[str]:
    joined = "|".join(f"(?:{phrase})" for phrase in phrases).replace(" ", r"[\s_#-]+")
    return re.compile(rf"(?<![A-Za-z])(?:{joined})(?![A-Za-z])", re.IGNORECASE)


def _blank(match: re.Match[str]) -> str:
    return re.sub(r"[^\n]", ".", match[0])


def in_markdown(text: str, rules: Rules) -> Iterator[tuple[int, str]]:
    """Yield line and message of each mistake in Markdown."""
    for code in (FENCE, CODE_SPAN, LINK_TARGET):
        text = code.sub(_blank, text)
    for position, phrase in rules.phrases(text):
        yield text.count("\n", 0, position) + 1, f"banned: {phrase}"


def in_python(text: str, rules: Rules) -> Iterator[tuple[int, str]]:
    """Yield line and message of each mistake in Python code."""
    for line, passage in _passages(text):
        prose = CODE_SPAN.sub(_blank, passage)
        for position, phrase in rules.phrases(prose):
            yield line + prose.count("\n", 0, position), f"banned: {phrase}"
    tree = ast.parse(text)
    for line, name in _names(tree):
        if name in rules.constants:
            yield line, f"constant without noun and unit: {name}"
        for _, phrase in rules.phrases(HUMP.sub("_", name)):
            yield line, f"banned: {phrase} (in the name {name})"
    for line, docstring in _docstrings(tree):
        words = re.match(r"\W*(\w+)", docstring)
        if words and words[1].lower() in rules.first_words:
            yield line, f"docstring begins with: {words[1]}"
        elif re.match(r"[^.:\n]*(\n[^.:\n]+)*\?", docstring.strip()):
            yield line, "docstring is a question"


def _passages(text: str) -> Iterator[tuple[int, str]]:
    """Yield line and text of runs of comments, and of strings that contain a space."""
    run: list[str] = []
    began = 0
    for token in tokenize.generate_tokens(io.StringIO(text).readline):
        if token.type == tokenize.COMMENT:
            began = began if run else token.start[0]
            run.append(token.string)
        elif token.type not in {tokenize.NL, tokenize.NEWLINE}:
            if run:
                yield began, "\n".join(run)
                run = []
            if _is_text(token):
                yield token.start[0], token.string
    if run:
        yield began, "\n".join(run)


def _is_text(token: tokenize.TokenInfo) -> bool:
    # Python 3.12 divides f-strings into tokens.
    return tokenize.tok_name[token.type] in {"STRING", "FSTRING_MIDDLE"} and " " in token.string


def _names(tree: ast.AST) -> Iterator[tuple[int, str]]:
    """Yield line and text of each name that is defined."""
    for node in ast.walk(tree):
        match node:
            case ast.FunctionDef(name=name) | ast.AsyncFunctionDef(name=name) | ast.ClassDef(name=name):
                yield node.lineno, name
            case ast.Name(id=name, ctx=ast.Store()) | ast.Attribute(attr=name, ctx=ast.Store()) | ast.arg(arg=name):
                yield node.lineno, name
            case _:
                pass


def _docstrings(tree: ast.AST) -> Iterator[tuple[int, str]]:
    """Yield line and text of the docstrings of modules, classes, functions and attributes."""
    for node in ast.walk(tree):
        match node:
            case ast.Expr(value=ast.Constant(value=str(text))):
                yield node.lineno, text
            case _:
                pass


def listed(root: Path) -> list[str]:
    """Return the Markdown and Python files under version control, and those that are new."""
    command = ["git", "ls-files", "--cached", "--others", "--exclude-standard", "*.md", "*.py"]
    found = subprocess.run(command, cwd=root, capture_output=True, check=True, text=True).stdout.splitlines()
    return [name for name in sorted(set(found)) if (root / name).exists()]


def mistakes(root: Path, names: Iterable[str], rules: Rules) -> Iterator[str]:
    """Yield the mistakes in files of *root*."""
    for name in names:
        if any(name == entry or (entry.endswith("/") and name.startswith(entry)) for entry in rules.exempt):
            continue
        check = in_markdown if name.endswith(".md") else in_python
        found = sorted(check((root / name).read_text(encoding="utf-8"), rules))
        yield from (f"{name}:{line}: {message}" for line, message in found)


def main(root: Path = ROOT) -> int:
    """Print all mistakes; return their number."""
    names = listed(root)
    found = list(mistakes(root, names, Rules.read(root / "pyproject.toml")))
    sys.stdout.write("\n".join([*found, f"language: {len(names)} files, {len(found)} mistakes", ""]))
    return len(found)


if __name__ == "__main__":
    sys.exit(bool(main()))
