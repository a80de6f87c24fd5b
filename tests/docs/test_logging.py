"""The page on logging lists all events and all fields."""

from __future__ import annotations

import logging
import re
from pathlib import Path

from django_q.log import messages
from django_q.log.events import Event
from django_q.log.fields import ATTRIBUTES

PAGE = Path(__file__).parents[2] / "docs" / "how-to" / "logging.md"


def row(event):
    """The row of an event: its name, level and description."""
    meaning = re.sub(r"^Log (that )?", "", event.__doc__)
    return f"| `{event.name}` | {logging.getLevelName(event.level)} | {meaning[0].upper()}{meaning[1:]} |"


def table():
    """The table of all events."""
    topics = [getattr(messages, name) for name in messages.__all__]
    events = [value for topic in topics for value in vars(topic).values() if isinstance(value, Event)]
    return "\n".join(["| event | level | meaning |", "| --- | --- | --- |", *map(row, events), ""])


def test_page_lists_all_events():
    page = PAGE.read_text(encoding="utf-8")
    assert page.endswith(f"\n\n{table()}"), f"copy this table to the page:\n{table()}"


def test_page_lists_all_fields():
    rows = re.findall(r"^\| `(\w+)` \| `(django_q_\w+)` \|", PAGE.read_text(encoding="utf-8"), re.MULTILINE)
    assert dict(rows) == ATTRIBUTES
