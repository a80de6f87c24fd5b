from __future__ import annotations

import io
import pickle
from datetime import UTC, datetime, timedelta, timezone
from zoneinfo import ZoneInfo

import pytest
from django_q.wire import pickling

# Pickles of pytz 2022.7 (protocol 0), which need not be installed to read them.
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


def test_other_values_are_pickled_as_usual() -> None:
    value = {"now": datetime(2026, 1, 1, tzinfo=UTC)}
    assert pickling.loads(pickle.dumps(value)) == value
