"""Each result or exception becomes an outcome of plain values that can be saved."""

from __future__ import annotations

import threading
from datetime import datetime
from decimal import Decimal

import pytest
from django_q.execution import Executor
from django_q.settings import ClusterSettings
from django_q.wire.outcome import Outcome, decode
from django_q.wire.package import new_package
from hypothesis import given
from hypothesis import strategies as st

EXECUTOR = Executor(ClusterSettings(name="any"))
PLAIN = (bool, bytes, datetime, float, int, str, tuple, type(None))


class Reduces:
    """Raises when it is pickled."""

    def __init__(self, error: type[BaseException]) -> None:
        self.error = error

    def __reduce__(self):
        raise self.error("cannot be pickled")


def give(value):
    return value


def throw(error):
    raise error


values = st.recursive(
    st.one_of(
        st.none(),
        st.booleans(),
        st.integers(),
        st.floats(allow_nan=False),
        st.text(),
        st.text(st.characters(categories=["Cs", "Cc", "L"])),
        st.binary(),
        st.decimals(allow_nan=False),
        st.datetimes(),
        st.uuids(),
    ),
    lambda inner: st.one_of(
        st.lists(inner, max_size=4),
        st.tuples(inner, inner),
        st.dictionaries(st.text(max_size=3), inner, max_size=3),
    ),
    max_leaves=8,
)
hostile = st.integers(0, 4).map(
    lambda index: [
        threading.Lock(), (each for each in "ab"), lambda: 1, Reduces(ValueError), Reduces(SystemExit),
    ][index]
)  # fmt: skip
OPTIONS = {"cached": st.just(True), "hook": st.just("m.hook"), "save": st.booleans()}
options = st.fixed_dictionaries({}, optional=OPTIONS)


def is_plain(outcome: Outcome) -> bool:
    return all(isinstance(value, PLAIN) for value in outcome)


@given(value=values, options=options)
def test_any_value_that_pickles_is_a_success(value, options):
    outcome = EXECUTOR.execute(new_package(give, (value,), **options))
    assert outcome.success
    assert is_plain(outcome)
    if options.get("cached"):
        assert EXECUTOR.builder.result_codec.loads(outcome.finished)["result"] == value
    elif options.get("save") is not False:
        assert decode(outcome.result) == value


@given(value=hostile, inside=st.booleans())
def test_any_value_that_does_not_pickle_is_a_final_failure(value, inside):
    # The value is made by the task, so that it need not be sent.
    held = [value] if inside else value
    outcome = EXECUTOR.execute(new_package(Holder(held)))
    assert not outcome.success
    assert outcome.final
    assert is_plain(outcome)


class Holder:
    """A function that is unknown to the package."""

    def __init__(self, value: object) -> None:
        self.value = value

    def __call__(self) -> object:
        return self.value

    def __reduce__(self):
        return Holder, (None,)


@given(message=st.one_of(values, st.text(st.characters(categories=["Cs", "Cc", "L"]))))
def test_any_exception_message_can_be_stored_and_logged(message):
    outcome = EXECUTOR.execute(new_package(throw, (ValueError(message),)))
    assert not outcome.success
    assert not outcome.final
    assert is_plain(outcome)
    stored = decode(outcome.result)
    assert "\0" not in stored
    stored.encode()
    assert outcome.error.isprintable()


@pytest.mark.parametrize("value", [Decimal("sNaN"), float("nan"), 10**5000, "x" * 1_000_000], ids=type)
def test_extreme_value_is_a_success(value):
    assert EXECUTOR.execute(new_package(give, (value,))).success
