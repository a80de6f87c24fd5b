# It runs on Python 3.9 too.
# ruff: noqa: UP017, UP032
"""Calls that every edition understands, and how to compare what comes of them.

Read by the public editions' Python (3.9) and by ours. Cases are added, never changed.
"""

from __future__ import annotations

import math
from collections import OrderedDict
from datetime import date, datetime, timedelta, timezone
from decimal import Decimal
from uuid import UUID

MOMENT = datetime(2026, 1, 31, 12, 30, 15, 123456, tzinfo=timezone.utc)


def call(func, *args, **kwargs):
    """Describe a call: `options` are the keywords for Django Q, the others are the function's."""
    options = kwargs.pop("options", {})
    return {"func": func, "args": args, "kwargs": kwargs, "options": options}


CASES = {
    "integers": call("math.copysign", 2, -2),
    "huge integer": call("math.isqrt", 10**100),
    "no arguments": call("builtins.dict"),
    "keywords": call("builtins.dict", a=1, b={"c": [None, True, 1.5]}),
    "unicode": call("builtins.str", "Grüße, 世界 🚀 \x00 \"'\\"),
    "unicode keyword": call("builtins.dict", größe=1),
    "bytes": call("builtins.len", b"\x00\xff\x80"),
    "moments": call("builtins.max", MOMENT, MOMENT + timedelta(days=1)),
    "date": call("builtins.str", date(2026, 1, 31)),
    "values": call("builtins.len", [Decimal("1.10"), UUID(int=7), {1, 2}, frozenset("ab"), (1, (2,)), 1j]),
    "large": call("builtins.len", "long " * 5000),
    "callable": call(math.copysign, 1, -1),
    "class": call(OrderedDict, [("a", 1)]),
    "name": call("math.floor", 1.5, options={"task_name": "a name of its own"}),
    "group": call("math.floor", 1.5, options={"group": "a group"}),
    "hook": call("math.floor", 1.5, options={"hook": "builtins.print"}),
    "callable hook": call("math.floor", 1.5, options={"hook": print}),
    "timeout": call("math.floor", 1.5, options={"timeout": 30}),
    "saved": call("math.floor", 1.5, options={"save": True}),
    "not saved": call("math.floor", 1.5, options={"save": False}),
    "cached": call("math.floor", 1.5, options={"cached": True}),
    "cached for a while": call("math.floor", 1.5, options={"cached": 60}),
    "failure acknowledged": call("math.sqrt", -1, options={"ack_failure": True}),
    "everything": call("builtins.dict", x=1, options={"group": "g", "hook": "h", "save": True, "timeout": 5}),
}

CHAIN = [("math.copysign", (1, -1), {}), ("builtins.dict", (), {"a": 1}), ("math.floor", (1.5,), {})]
ITER = [(1, -1), (2, -2), (3, -3)]

RUNS = {
    "float": call("math.copysign", 2, -2),
    "nothing": call("builtins.print"),
    "false": call("builtins.bool"),
    "unicode": call("builtins.str", "Grüße 🚀"),
    "bytes": call("builtins.bytes", [0, 255]),
    "containers": call("builtins.dict", a=(1, [2, {3}]), b={"c": None}),
    "now": call("django.utils.timezone.now"),
    "callable": call(math.floor, 1.5),
    "class": call("copy.copy", OrderedDict),
    "group": call("math.floor", 2.5, options={"group": "a group", "task_name": "named"}),
    "failure": call("math.sqrt", -1),
    "failure of a group": call("builtins.int", "x", base=7, options={"group": "a group"}),
}


def plain(value):
    """Turn a value into something that compares equal between Pythons and Djangos, and goes into JSON."""
    if isinstance(value, datetime):
        return {"datetime": value.isoformat()}
    if isinstance(value, dict):
        return {type(value).__name__: [[plain(key), plain(item)] for key, item in value.items()]}
    if isinstance(value, (list, tuple)):
        return {type(value).__name__: [plain(item) for item in value]}
    if isinstance(value, (set, frozenset)):
        return {type(value).__name__: sorted(map(repr, value))}
    if callable(value):
        return {"callable": "{}.{}".format(value.__module__, value.__qualname__)}
    return repr(value)


def columns(instance):
    """Return a row as its edition's model shows it."""
    return {field.attname: plain(getattr(instance, field.attname)) for field in instance._meta.concrete_fields}
