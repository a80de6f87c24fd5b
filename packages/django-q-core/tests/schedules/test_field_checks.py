"""The error of a field with a wrong type names the field."""

from __future__ import annotations

import math
from decimal import Decimal

import pytest
from django.utils.translation import gettext_lazy
from django_q.exceptions import OptionError
from django_q.models import Schedule
from django_q.schedules.field_checks import FIELD_RULES, checked_fields
from django_q.tasks import schedule


class Unreadable:
    """Raises when its type or its text is read."""

    @property
    def __class__(self):
        raise SystemExit

    def __str__(self):
        raise SystemExit


VALUES = {
    "dict": {},
    "infinity": math.inf,
    "list": [1],
    "object": object(),
    "signaling NaN": Decimal("sNaN"),
    "unreadable": Unreadable(),
}
HAS_TEXT = {"infinity", "signaling NaN"}


@pytest.mark.parametrize(
    ("field", "kind"),
    [
        (field, kind)
        for field in FIELD_RULES
        for kind in VALUES
        if field not in ("cluster", "name") or kind not in HAS_TEXT
    ],
)
def test_value_of_a_wrong_type_is_refused(field, kind):
    value = VALUES[kind]
    with pytest.raises(OptionError, match=f"^{field} is "):
        checked_fields({field: value})


def test_none_and_unknown_fields_stay():
    assert checked_fields({"minutes": None, "other": [1]}) == {"minutes": None, "other": [1]}


@pytest.mark.django_db
def test_schedule_with_a_field_of_a_wrong_type_is_not_created():
    with pytest.raises(OptionError, match="minutes is inf"):
        schedule("math.sqrt", 4, schedule_type=Schedule.MINUTES, minutes=math.inf)
    assert not Schedule.objects.exists()


@pytest.mark.django_db
def test_name_is_stored_as_text():
    names = [schedule("math.sqrt", 4, name=name).name for name in (gettext_lazy("clean"), 7, "half \ud800 a letter")]
    assert names == ["clean", "7", "half \N{REPLACEMENT CHARACTER} a letter"]
