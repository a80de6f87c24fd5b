"""The log: one logger, its messages by topic, the fields of records, and a formatter for JSON."""

from __future__ import annotations

# This module must not create the logger. `LOGGING` names the formatter, and disables the loggers that exist already.
from django_q.log.json_lines import JsonFormatter

__all__ = ["JsonFormatter"]
