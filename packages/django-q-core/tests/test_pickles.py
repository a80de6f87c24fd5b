from __future__ import annotations

import io
import pickle
from datetime import UTC, datetime, timedelta, timezone
from typing import TYPE_CHECKING
from zoneinfo import ZoneInfo

import pytest
from django_q import pickles

if TYPE_CHECKING:
    from collections.abc import Callable

# What pytz 2022.7 pickles (protocol 0): it need not be installed to read them.
PYTZ_UTC = b"cpytz\n_UTC\n(tR."
PYTZ_BERLIN = b"cpytz\n_p\n(VEurope/Berlin\nI3600\nI0\nVCET\ntR."
PYTZ_FIXED = b"cpytz\nFixedOffset\n(I330\ntR."


@pytest.mark.parametrize(
    ("data", "zone"),
    [
        (PYTZ_UTC, UTC),
        (PYTZ_BERLIN, ZoneInfo("Europe/Berlin")),
        (PYTZ_FIXED, timezone(timedelta(hours=5, minutes=30))),
    ],
    ids=["utc", "named", "fixed"],
)
def test_zones_of_pytz_are_those_of_python(data: bytes, zone: object) -> None:
    assert pickles.WithoutPytz(io.BytesIO(data)).load() == zone


def test_everything_else_is_plain_pickle() -> None:
    value = {"now": datetime(2026, 1, 1, tzinfo=UTC)}
    assert pickles.loads(pickle.dumps(value)) == value


MOMENT = datetime(2026, 12, 31, 23, 59, 59, 999_999, tzinfo=UTC)


@pytest.mark.parametrize(
    "rest",
    [
        {},
        {"id": "f" * 32},
        {"id": "f" * 32, "func": "math.floor", "args": (1, [MOMENT, MOMENT]), "kwargs": {"started": MOMENT}},
        {"args": (b"\x00." * 500_000,), "kwargs": {}},
        {"args": tuple(map(str, range(20_000)))},
    ],
    ids=["nothing", "one", "short", "large", "several frames"],
)
@pytest.mark.parametrize("load", [pickle.loads, pickle._loads], ids=["in C", "in Python"])
def test_moment_of_sending_arrives_with_all_else(rest: dict[str, object], load: Callable[[bytes], object]) -> None:
    assert load(pickles.dumps({"started": MOMENT, **rest})) == {"started": MOMENT, **rest}


@pytest.mark.parametrize(
    "started",
    [
        MOMENT.replace(tzinfo=None),
        MOMENT.replace(tzinfo=ZoneInfo("Europe/Berlin"), fold=1),
        MOMENT.replace(tzinfo=timezone(timedelta(hours=1))),
        MOMENT.replace(year=1, fold=1),
        "now",
        None,
    ],
    ids=repr,
)
def test_other_moments_arrive_too(started: object) -> None:
    package = {"id": "f" * 32, "started": started}
    arrived = pickle.loads(pickles.dumps(package))
    assert arrived == package
    assert getattr(arrived["started"], "fold", 0) == getattr(started, "fold", 0)
    assert getattr(arrived["started"], "tzinfo", None) == getattr(started, "tzinfo", None)


def test_package_is_not_changed_by_being_pickled() -> None:
    package = {"started": MOMENT, "id": "f" * 32}
    pickles.dumps(package)
    assert list(package.items()) == [("started", MOMENT), ("id", "f" * 32)]


def test_other_missing_modules_are_still_missing() -> None:
    with pytest.raises(ModuleNotFoundError, match="no_such_module"):
        pickles.loads(b"cno_such_module\nthing\n.")
