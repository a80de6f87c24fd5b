"""The metadata of a package are read without importing or running code."""

from __future__ import annotations

import functools
import math
import os
import sys
from collections import OrderedDict, defaultdict, namedtuple
from datetime import UTC, datetime, timedelta
from decimal import Decimal
from uuid import uuid4
from zoneinfo import ZoneInfo

import pytest
from django.db.models import Q
from django_q.exceptions import UnreadablePackage
from django_q.wire import pickling
from django_q.wire.codec import PackageCodec
from django_q.wire.metadata import Unread, peek
from django_q.wire.package import new_package

CODEC = PackageCodec("metadata")


class Kills:
    """Object that ends the process which unpickles it."""

    def __reduce__(self):
        return os._exit, (3,)


class Exits:
    def __reduce__(self):
        return sys.exit, ("no licence",)


class Slots:
    __slots__ = ("a",)

    def __init__(self):
        self.a = 1


class Dictionary(dict):
    pass


class List(list):
    pass


class Method:
    @classmethod
    def run(cls): ...


Pair = namedtuple("Pair", "a b")  # noqa: PYI024


def peeked(func="m.f", args=(), **options):
    return peek(CODEC, CODEC.dumps(new_package(func, args, **options)))


@pytest.mark.parametrize("hostile", [Kills(), Exits(), [Kills()], {"k": (Exits(),)}, Pair(Kills(), 1)])
def test_argument_that_ends_the_process_is_not_unpickled(hostile):
    found = peeked(args=(hostile,), group="g", hook="m.h", cached=60)
    assert found["func"] == "m.f"
    assert found["group"] == "g"
    assert found["hook"] == "m.h"
    assert found["cached"] == 60
    assert isinstance(found["args"], Unread)


@pytest.mark.parametrize(
    "argument",
    [
        Slots(), Dictionary(a=1), List([1, 2]), Pair(1, 2), OrderedDict(a=1), defaultdict(list, a=[1]), {1, 2}, Q(a=1),
        functools.partial(math.floor, 1.5), Decimal("1.5"), uuid4(), ValueError("x"), range(3), b"x", bytearray(b"x"),
        2 + 3j, ZoneInfo("Asia/Tokyo"), datetime(2026, 1, 1, tzinfo=ZoneInfo("Asia/Tokyo")), timedelta(1),
        Method, print,
    ],
)  # fmt: skip
def test_argument_of_any_class_is_kept_unread(argument):
    found = peeked(args=(argument,), kwargs={"key": argument})
    args, kwargs = pickling.loads(pickling.dumps((found["args"], found["kwargs"])))
    assert repr(args) == repr((argument,)) or isinstance(argument, (Slots, ValueError))
    assert type(args[0]) is type(argument)
    assert list(kwargs) == ["key"]


def test_nothing_is_imported(tmp_path, monkeypatch):
    (tmp_path / "metadata_poison.py").write_text("class Argument: pass\n")
    monkeypatch.syspath_prepend(tmp_path)
    import metadata_poison

    signed = CODEC.dumps(new_package("metadata_poison.f", (metadata_poison.Argument(),)))
    del sys.modules["metadata_poison"]
    (tmp_path / "metadata_poison.py").write_text("raise SystemExit(3)\n")
    found = peek(CODEC, signed)
    assert found["func"] == "metadata_poison.f"
    assert "metadata_poison" not in sys.modules


@pytest.mark.parametrize(
    ("func", "path"),
    [
        ("math.floor", "math.floor"),
        (math.floor, "math.floor"),
        (print, "print"),
        (Slots, f"{__name__}.Slots"),
        (Method.run, f"{__name__}.Method.run"),
        (functools.partial(print, 1), "functools.partial"),
    ],
)
def test_function_is_named_by_its_path(func, path):
    assert peeked(func)["func"] == path


def test_plain_values_are_kept_and_others_become_plain():
    started = datetime(2026, 1, 1, tzinfo=UTC)
    package = new_package("m.f", (), name="n", started=started, group="g", save=False, timeout=1.5)
    package |= {"group": 42, "cached": "60", "iter_count": float("nan"), "iter_options": {"group": 7, "save": True}}
    found = peek(CODEC, CODEC.dumps(package))
    assert found["group"] == "42"
    assert "cached" not in found
    assert "iter_count" not in found
    assert found["iter_options"] == {"group": "7", "save": True}
    assert found["started"] == started
    assert found["save"] is False
    assert found["timeout"] == 1.5
    assert found["args"] == ()
    assert found["kwargs"] == {}


def test_labels_can_be_stored():
    package = new_package("m.f", name="x" * 500)
    package["group"] = "a\0\udce9"
    found = peek(CODEC, CODEC.dumps(package))
    assert found["name"] == "x" * 99 + "…"
    assert found["group"] == "a\N{REPLACEMENT CHARACTER}\N{REPLACEMENT CHARACTER}"


@pytest.mark.parametrize("content", [None, 5, "text", [], {"id": "x"}])
def test_signed_content_without_a_task_is_unreadable(content):
    with pytest.raises(UnreadablePackage):
        peek(CODEC, CODEC.dumps(content))


@pytest.mark.parametrize("data", [b"", b"garbage", b"\x80\x05.", b"cos\nsystem\n(S'true'\ntR."])
def test_garbage_is_unreadable(data):
    with pytest.raises(UnreadablePackage):
        peek(CODEC, CODEC.sign(data))


def test_foreign_signature_is_unreadable():
    with pytest.raises(UnreadablePackage, match="foreign signature"):
        peek(CODEC, PackageCodec("other").dumps(new_package("m.f")))
