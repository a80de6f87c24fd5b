"""Text of a failure: message and class of an exception, and its traceback."""

from __future__ import annotations

import re
from typing import Final, NamedTuple

TRACEBACK_HEADER: Final = "Traceback (most recent call last):"

LAST_LINE: Final = re.compile(r"^([A-Za-z_][\w.]*)(?:: (.*))?$", re.DOTALL | re.MULTILINE)
"""The exception's class and message, which follow the frames."""


class FailureText(NamedTuple):
    """Parts of the text of a failure, in the order of the arguments of `TaskFailed`."""

    message: str
    """Message of the exception, or the name of its class if it has none; the reason of a failure without one."""
    exception_class: str
    """Name of the class as the traceback has it; empty if there is none."""
    traceback: str
    """The traceback; empty if there is none."""

    @classmethod
    def of(cls, text: str) -> FailureText:
        """Split a message, and a traceback that may follow it. A traceback alone has the message in its last line."""
        message, header, rest = text.partition(TRACEBACK_HEADER)
        if not header:
            return cls(text.strip(), "", "")
        last = LAST_LINE.search(rest.rpartition(TRACEBACK_HEADER)[2])
        name, end = (last[1], (last[2] or "").strip()) if last else ("", "")
        return cls(message.strip().removesuffix(":").rstrip() or end or name, name, header + rest)

    @property
    def error(self) -> str:
        """Class and message as one text."""
        name = self.exception_class
        if self.message in (name, name.rpartition(".")[2]):
            return name
        return f"{name}: {self.message}" if name else self.message
