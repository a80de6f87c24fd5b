"""What a setting may be, said so that a person can correct it."""

from __future__ import annotations

import logging
import math
from collections.abc import Callable, Mapping
from typing import Any, Final, NamedTuple
from zoneinfo import ZoneInfo

from django.utils.functional import Promise

DEAD_LETTER_ENDS: Final = ("-dead", "-dead.fifo")
"""Ends of the names of dead-letter queues; the second one is that of ordered queues of SQS."""

CLUSTER_NAME: Final = "a name that does not end in -dead, as those of dead-letter queues do"
"""Description of a valid name of a cluster, for errors."""


class Rule(NamedTuple):
    """The values a setting accepts; a truth value counts as a number only where it is asked for."""

    expected: str
    kinds: tuple[type, ...]
    fits: Callable[[Any], bool] = lambda value: True
    advice: str = ""

    def has_kind(self, value: object) -> bool:
        """Is the type right?"""
        return isinstance(value, self.kinds) and (bool in self.kinds or not isinstance(value, bool))

    def accepts(self, value: object) -> bool:
        """Are the type and the value right?"""
        return self.has_kind(value) and self.fits(value)

    def advise(self, value: object) -> str:
        """What to do about a value that is not accepted."""
        if isinstance(value, str) and bool in self.kinds:
            return "Any text counts as true in Python; from the environment: os.environ[...] == 'true'."
        if isinstance(value, str) and int in self.kinds:
            return "Write it without quotes; from the environment: int(os.environ[...])."
        return self.advice


class Mistake(NamedTuple):
    """One setting that breaks its rule."""

    key: str
    found: str
    expected: str
    advice: str
    right_kind: bool
    """Is only the value wrong, and the type right?"""

    def __str__(self) -> str:
        """The mistake as one sentence, and what to do."""
        return f"{self.key} is {self.found}, expected {self.expected}. {self.advice}".rstrip()


def flag() -> Rule:
    """True or False; 1 and 0 are understood."""
    return Rule("True or False", (bool, int), lambda value: value in (0, 1))


def whole(minimum: int | None = None, *, unit: str = "", advice: str = "") -> Rule:
    """A whole number, from `minimum` on."""
    what = f"a whole number of {unit}" if unit else "a whole number"
    if minimum is None:
        return Rule(what, (int,), advice=advice)
    return Rule(f"{what}, {minimum} or more", (int,), lambda value: value >= minimum, advice)


def seconds(*, above: float | None = None, below: float = math.inf, advice: str = "") -> Rule:
    """A number of seconds: more than `above`, else from 0 on, and less than `below`."""
    bound = "0 or more" if above is None else f"above {above}"
    upper = f" and below {below}" if below < math.inf else ""

    def fits(value: float) -> bool:
        return (value >= 0 if above is None else value > above) and value < below

    return Rule(f"a number of seconds, {bound}{upper}", (int, float), fits, advice)


def flag_or_seconds() -> Rule:
    """True, False or a number of seconds."""
    return Rule("True, False or a number of seconds, 0 or more", (bool, int, float), seconds().fits)


def text(*, advice: str = "") -> Rule:
    """Text with something in it; a lazy translation is text."""
    return Rule("a non-empty text", (str, Promise), bool, advice)


def is_dead_letter_queue(name: object) -> bool:
    """Return True for a name that only a dead-letter queue may have, and no cluster, in whatever case."""
    return isinstance(name, (str, Promise)) and str(name).lower().endswith(DEAD_LETTER_ENDS)


def choice(*words: str) -> Rule:
    """One of a few words."""
    return Rule("one of " + ", ".join(map(repr, words)) + " or None", (str,), lambda value: value in words)


def mapping(*, advice: str = "") -> Rule:
    """A dictionary with text keys."""
    return Rule("a dictionary", (Mapping,), has_text_keys, advice)


def mapping_of_mappings(*, advice: str = "") -> Rule:
    """A dictionary of dictionaries."""

    def fits(value: Mapping[Any, Any]) -> bool:
        return has_text_keys(value) and all(isinstance(inner, Mapping) for inner in value.values())

    return Rule("a dictionary of dictionaries", (Mapping,), fits, advice)


def mappings(*, advice: str = "") -> Rule:
    """A list of dictionaries."""

    def fits(value: list[Any]) -> bool:
        return all(isinstance(inner, Mapping) and has_text_keys(inner) for inner in value)

    return Rule("a list of dictionaries", (list, tuple), fits, advice)


def mapping_or_text(*, advice: str = "") -> Rule:
    """A dictionary, or a text such as an address."""
    return Rule(
        "a dictionary or a URL", (Mapping, str), lambda value: isinstance(value, str) or has_text_keys(value), advice
    )


def texts(*, advice: str = "") -> Rule:
    """A list of texts."""
    return Rule("a list of texts", (list, tuple), lambda value: all(isinstance(item, str) for item in value), advice)


def class_or_path(*, advice: str = "") -> Rule:
    """A class, or its dotted path."""
    return Rule(
        "a class or its dotted path", (type, str), lambda value: not isinstance(value, str) or "." in value, advice
    )


def time_zone() -> Rule:
    """The name of a time zone."""
    return Rule("the IANA name of a time zone, such as 'Europe/Amsterdam'", (str,), is_time_zone)


def log_level() -> Rule:
    """The name or number of a log level."""

    def fits(value: str | int) -> bool:
        return isinstance(value, int) or value.upper() in logging.getLevelNamesMapping()

    return Rule("the name or number of a log level, such as 'INFO'", (str, int), fits)


def start_method() -> Rule:
    """A way to start processes. Windows, where a project may be developed, does not have all of them."""
    return choice("fork", "forkserver", "spawn")


def has_text_keys(value: Mapping[Any, Any]) -> bool:
    """Are all keys text, so that they can be keywords?"""
    return all(isinstance(key, str) for key in value)


def is_time_zone(value: str) -> bool:
    """Does this system know a time zone of this name?"""
    try:
        return bool(ZoneInfo(value))
    except (OSError, ValueError, LookupError):
        return False
