"""Validation rules for settings, with messages that tell how to correct a value."""

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
    """Rule for the values of a setting. A bool is a number only if `kinds` contains bool."""

    expected: str
    """Description of a valid value."""
    kinds: tuple[type, ...]
    """Valid types."""
    fits: Callable[[Any], bool] = lambda value: True
    """Function that returns True for a valid value of a valid type."""
    advice: str = ""
    """Correction of an invalid value."""

    def has_kind(self, value: object) -> bool:
        """Return True if the type of a value is valid."""
        return isinstance(value, self.kinds) and (bool in self.kinds or not isinstance(value, bool))

    def accepts(self, value: object) -> bool:
        """Return True if a value and its type are valid."""
        return self.has_kind(value) and self.fits(value)

    def advise(self, value: object) -> str:
        """Return the correction of an invalid value."""
        is_text = isinstance(value, str) and str not in self.kinds
        if is_text and bool in self.kinds:
            return "Any text counts as true in Python; from the environment: os.environ[...] == 'true'."
        if is_text and int in self.kinds:
            return "Write it without quotes; from the environment: int(os.environ[...])."
        return self.advice


class Mistake(NamedTuple):
    """One setting that violates its rule."""

    key: str
    found: str
    expected: str
    advice: str
    right_kind: bool
    """True if the type is valid and only the value is not."""

    def __str__(self) -> str:
        """Return a sentence that describes the mistake, and the correction."""
        return f"{self.key} is {self.found}, expected {self.expected}. {self.advice}".rstrip()


def flag() -> Rule:
    """Return the rule of a truth value: True, False, 1 or 0."""
    return Rule("True or False", (bool, int), lambda value: value in (0, 1))


def whole(minimum: int | None = None, *, unit: str = "", advice: str = "") -> Rule:
    """Return the rule of a whole number.

    Args:
        minimum: smallest valid number; None for no limit.
        unit: unit of the number, for messages.
        advice: correction of an invalid value.
    """
    what = f"a whole number of {unit}" if unit else "a whole number"
    if minimum is None:
        return Rule(what, (int,), advice=advice)
    return Rule(f"{what}, {minimum} or more", (int,), lambda value: value >= minimum, advice)


def seconds(*, above: float | None = None, below: float = math.inf, advice: str = "") -> Rule:
    """Return the rule of a number of seconds.

    Args:
        above: number that a valid one exceeds; None for 0 or more.
        below: number that exceeds a valid one.
        advice: correction of an invalid value.
    """
    bound = "0 or more" if above is None else f"above {above}"
    upper = f" and below {below}" if below < math.inf else ""

    def fits(value: float) -> bool:
        return (value >= 0 if above is None else value > above) and value < below

    return Rule(f"a number of seconds, {bound}{upper}", (int, float), fits, advice)


def flag_or_seconds() -> Rule:
    """Return the rule of a truth value or a number of seconds."""
    return Rule("True, False or a number of seconds, 0 or more", (bool, int, float), seconds().fits)


def text(*, advice: str = "") -> Rule:
    """Return the rule of a non-empty text, which may be a lazy translation."""
    return Rule("a non-empty text", (str, Promise), bool, advice)


def is_dead_letter_queue(name: object) -> bool:
    """Return True for a name that only a dead-letter queue may have, and no cluster; upper or lower case."""
    return isinstance(name, (str, Promise)) and str(name).lower().endswith(DEAD_LETTER_ENDS)


def choice(*words: str) -> Rule:
    """Return the rule of one of several words."""
    return Rule("one of " + ", ".join(map(repr, words)) + " or None", (str,), lambda value: value in words)


def mapping(*, advice: str = "") -> Rule:
    """Return the rule of a dictionary with text keys."""
    return Rule("a dictionary", (Mapping,), has_text_keys, advice)


def mapping_of_mappings(*, advice: str = "") -> Rule:
    """Return the rule of a dictionary of dictionaries."""

    def fits(value: Mapping[Any, Any]) -> bool:
        return has_text_keys(value) and all(isinstance(inner, Mapping) for inner in value.values())

    return Rule("a dictionary of dictionaries", (Mapping,), fits, advice)


def mappings(*, advice: str = "") -> Rule:
    """Return the rule of a list of dictionaries."""

    def fits(value: list[Any]) -> bool:
        return all(isinstance(inner, Mapping) and has_text_keys(inner) for inner in value)

    return Rule("a list of dictionaries", (list, tuple), fits, advice)


def mapping_or_text(*, advice: str = "") -> Rule:
    """Return the rule of a dictionary, or of a text such as an address."""
    return Rule(
        "a dictionary or a URL", (Mapping, str), lambda value: isinstance(value, str) or has_text_keys(value), advice
    )


def texts(*, advice: str = "") -> Rule:
    """Return the rule of a list of texts."""
    return Rule("a list of texts", (list, tuple), lambda value: all(isinstance(item, str) for item in value), advice)


def class_or_path(*, advice: str = "") -> Rule:
    """Return the rule of a class or its dotted path."""
    return Rule(
        "a class or its dotted path", (type, str), lambda value: not isinstance(value, str) or "." in value, advice
    )


def time_zone() -> Rule:
    """Return the rule of the name of a time zone."""
    return Rule("the IANA name of a time zone, such as 'Europe/Amsterdam'", (str,), is_time_zone)


def log_level() -> Rule:
    """Return the rule of the name or number of a log level."""

    def fits(value: str | int) -> bool:
        return isinstance(value, int) or value.upper() in logging.getLevelNamesMapping()

    names = "Use 'DEBUG', 'INFO', 'WARNING', 'ERROR' or 'CRITICAL', or a number."
    return Rule("the name or number of a log level, such as 'INFO'", (str, int), fits, names)


def start_method() -> Rule:
    """Return the rule of a start method. All of them are valid on Windows, too, where a project may be developed."""
    return choice("fork", "forkserver", "spawn")


def has_text_keys(value: Mapping[Any, Any]) -> bool:
    """Return True if all keys are text, so that they can be keywords."""
    return all(isinstance(key, str) for key in value)


def is_time_zone(value: str) -> bool:
    """Return True if this system has a time zone with this name."""
    try:
        return bool(ZoneInfo(value))
    except (OSError, ValueError, LookupError):
        return False
