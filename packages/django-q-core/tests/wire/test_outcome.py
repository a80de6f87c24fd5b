from __future__ import annotations

import pickle
from datetime import UTC, datetime
from math import floor

import pytest
from django.contrib.auth.models import User
from django_q.wire.outcome import Outcome, decode, encode
from picklefield.fields import PickledObjectField

VALUES = [0, "", False, "Grüße 🚀", b"\x00\xff", (1, [2, {"a": 3}]), datetime(2026, 1, 1, tzinfo=UTC), floor, int]


@pytest.mark.parametrize("value", VALUES, ids=repr)
def test_encoded_value_is_what_the_field_writes(value: object) -> None:
    field = PickledObjectField(protocol=-1)
    field.set_attributes_from_name("value")
    holder = (
        type("Holder", (), {"value": value})()
        if not callable(value)
        else type("Holder", (), {"value": staticmethod(value)})()
    )
    assert encode(value) == field.get_db_prep_value(field.pre_save(holder, add=True))


@pytest.mark.parametrize("value", VALUES, ids=repr)
def test_field_saves_encoded_text_unchanged(value: object) -> None:
    text = encode(value)
    assert PickledObjectField(protocol=-1).get_db_prep_value(text) is text


@pytest.mark.parametrize("value", [None, *VALUES], ids=repr)
def test_encoded_value_can_be_decoded(value: object) -> None:
    assert decode(encode(value)) == value


def test_encoded_models_can_be_decoded() -> None:
    user = User(pk=3, username="frida")
    assert decode(encode(user)) == user


def test_encoded_value_keeps_its_class_when_pickled() -> None:
    text = pickle.loads(pickle.dumps(encode("x")))
    assert PickledObjectField(protocol=-1).get_db_prep_value(text) == text


def test_none_is_null() -> None:
    assert encode(None) is None


def test_encoding_raises_pickling_errors() -> None:
    with pytest.raises((AttributeError, pickle.PicklingError)):
        encode(lambda: None)


def test_outcome_can_be_pickled() -> None:
    now = datetime(2026, 1, 1, tzinfo=UTC)
    outcome = Outcome("f" * 32, "n", "math.floor", None, encode((1,)), None, encode(1), None, "default", now, now, True)
    assert pickle.loads(pickle.dumps(outcome)) == outcome
