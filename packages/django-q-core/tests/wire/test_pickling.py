from __future__ import annotations

import io
import pickle
from datetime import UTC, datetime, timedelta, timezone
from zoneinfo import ZoneInfo

import pytest
from django_q.wire import pickling

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
    assert pickling.WithoutPytz(io.BytesIO(data)).load() == zone


def test_everything_else_is_plain_pickle() -> None:
    value = {"now": datetime(2026, 1, 1, tzinfo=UTC)}
    assert pickling.loads(pickle.dumps(value)) == value
