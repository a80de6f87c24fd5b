"""Options are validated and normalised once: labels have a text form, numbers are numbers."""

from __future__ import annotations

import enum
import math
import uuid
from collections import UserString, deque
from datetime import UTC, datetime, timedelta
from decimal import Decimal
from fractions import Fraction
from ipaddress import IPv4Address, IPv4Network
from pathlib import PurePosixPath
from types import SimpleNamespace

import pytest
from django.utils.functional import lazystr
from django.utils.safestring import mark_safe
from django_q.exceptions import OptionError, UnreadablePackage, UnsendableTask
from django_q.wire import options
from django_q.wire.option_values import MAX_SECONDS, label
from django_q.wire.options import NO_TIMEOUT, checked_func, normalise_package, validated
from django_q.wire.package import new_package
from hypothesis import given, settings
from hypothesis import strategies as st

few = settings(max_examples=150, deadline=None)


class Color(enum.Enum):
    RED = "red"


class TextColor(str, enum.Enum):  # noqa: UP042 - whose str() is not its value
    RED = "red"


class Level(enum.IntEnum):
    HIGH = 3


class Raises:
    """Object without a text form, whose methods raise."""

    def __init__(self, error: type[BaseException] = ValueError) -> None:
        self.error = error

    def __str__(self) -> str:
        raise self.error("no text")

    __repr__ = __str__


class Pretends:
    """Object that raises when its class is read."""

    @property
    def __class__(self):
        raise ValueError("no class")


def tried(call, *args):
    """Return the result of a call, and the text of its error."""
    try:
        return call(*args), ""
    except (OptionError, UnsendableTask) as error:
        return None, str(error)


PRETENDS = pytest.param(Pretends(), id="Pretends")


def kind_of(value: object) -> str:
    return type(value).__name__


CONTAINERS = [[], ["a"], (), ("a",), {}, {"a": 1}, set(), frozenset("a"), b"a", bytearray(b"a"), memoryview(b"a")]
CONTAINERS += [deque(), range(3), iter("a"), (each for each in "a")]
NUMBER_OPTIONS = ["timeout", "cached", "iter_count", "iter_cached", "delay"]
LABELS = ["group", "task_name"]

anything = st.one_of(
    st.none(),
    st.booleans(),
    st.integers(),
    st.floats(),
    st.decimals(allow_nan=True),
    st.fractions(),
    st.complex_numbers(),
    st.text(),
    st.text(st.characters(categories=["Cs", "Cc", "So", "Lu"])),
    st.binary(),
    st.uuids(),
    st.datetimes(),
    st.timedeltas(),
    st.sampled_from([Color.RED, TextColor.RED, Level.HIGH, len]),
    st.integers(0, 3).map(lambda index: [Raises(), Raises(SystemExit), Pretends(), object()][index]),
    st.lists(st.integers(), max_size=3),
    st.dictionaries(st.text(max_size=2), st.integers(), max_size=2),
)


# labels


@pytest.mark.parametrize(
    ("value", "text"),
    [
        ("a label", "a label"),
        (42, "42"),
        (0, "0"),
        (-1.5, "-1.5"),
        (True, "True"),
        (uuid.UUID(int=7), "00000000-0000-0000-0000-000000000007"),
        (Color.RED, "Color.RED"),
        (TextColor.RED, "red"),
        (Level.HIGH, "3"),
        (Decimal("1.50"), "1.50"),
        (datetime(2026, 1, 1, tzinfo=UTC), "2026-01-01 00:00:00+00:00"),
        (PurePosixPath("/a/b"), "/a/b"),
        (IPv4Address("127.0.0.1"), "127.0.0.1"),
        (IPv4Network("10.0.0.0/8"), "10.0.0.0/8"),
        (lazystr("lazy"), "lazy"),
        (mark_safe("<b>"), "<b>"),
        (UserString("user"), "user"),
        ("日本", "日本"),
        ("a\0b", "a�b"),
        ("a\ud800b", "a�b"),
        ("\ud83d\ude00", "😀"),
        ("", ""),
    ],
)
@pytest.mark.parametrize("name", LABELS)
def test_label_is_the_text_form_of_any_single_value(name, value, text):
    normal = validated({name: value})[name]
    assert (normal, type(normal)) == (text, str)


@pytest.mark.parametrize("name", LABELS)
def test_label_that_is_too_long_is_truncated_with_a_mark(name):
    assert validated({name: "x" * 100})[name] == "x" * 100
    assert validated({name: "x" * 101})[name] == "x" * 99 + "…"
    assert validated({name: "日" * 1000})[name] == "日" * 99 + "…"


@pytest.mark.parametrize("value", CONTAINERS, ids=kind_of)
@pytest.mark.parametrize("name", [*LABELS, "cluster"])
def test_container_is_no_label(name, value):
    with pytest.raises(OptionError, match=f"{name} is "):
        validated({name: value})


@pytest.mark.parametrize(
    "value", [object(), validated, Raises(), Raises(SystemExit), Raises(GeneratorExit), PRETENDS], ids=kind_of
)
@pytest.mark.parametrize("name", [*LABELS, "cluster"])
def test_object_without_a_text_form_is_no_label(name, value):
    with pytest.raises(OptionError, match=f"{name} is "):
        validated({name: value})


def test_numpy_values_are_labels():
    numpy = pytest.importorskip("numpy")
    assert [label("group", each) for each in (numpy.int64(3), numpy.str_("a"), numpy.float32(0.5))] == ["3", "a", "0.5"]
    with pytest.raises(OptionError):
        label("group", numpy.array([1]))


@few
@given(anything)
def test_label_can_be_stored_and_is_its_own_normal_form(value):
    text, error = tried(label, "group", value)
    assert error.startswith("group is " if error else "")
    if text is None:
        assert value is None or error
        return
    assert type(text) is str
    assert len(text) <= 100
    assert "\0" not in text
    text.encode()
    assert label("group", text) == text


# queues


@pytest.mark.parametrize(("value", "name"), [("q", "q"), (TextColor.RED, "red"), (7, "7"), (None, None), ("", None)])
def test_cluster_is_the_text_form_of_a_queues_name(value, name):
    assert validated({"cluster": value})["cluster"] == name


@pytest.mark.parametrize("value", ["mail-dead", "mail-DEAD", "mail-dead.fifo", "-dead"])
def test_cluster_is_no_dead_letter_queue(value):
    with pytest.raises(OptionError, match=r"cluster is .*does not end in -dead"):
        validated({"cluster": value})


@pytest.mark.parametrize("value", ["x" * 101, "a\0b", "a\ud800b"])
def test_cluster_is_never_truncated_or_changed(value):
    with pytest.raises(OptionError, match=r"cluster is .*the name of a cluster"):
        validated({"cluster": value})


# numbers


@pytest.mark.parametrize("name", NUMBER_OPTIONS)
@pytest.mark.parametrize(
    "value",
    [
        *("1", "", b"1", [1], (1,), {}, object(), 1j, -1, -0.5, math.nan, math.inf, -math.inf, 1e300, 10**400),
        *(Decimal("NaN"), Decimal("sNaN"), Decimal("Infinity"), Decimal(-1), Fraction(10**400), datetime.now(UTC)),
        *(Raises(), PRETENDS, lazystr("1"), timedelta(seconds=-1), timedelta.max),
    ],
    ids=kind_of,
)
def test_number_out_of_range_is_rejected(name, value):
    with pytest.raises(OptionError, match=f"{name} is "):
        validated({name: value})


@pytest.mark.parametrize("name", ["timeout", "iter_count", "delay"])
@pytest.mark.parametrize("value", [True, False])
def test_truth_value_is_no_number(name, value):
    with pytest.raises(OptionError, match=rf"{name} is {value} \(bool\)"):
        validated({name: value})


@pytest.mark.parametrize("value", [2, 2.0, Decimal(2), Fraction(2)])
@pytest.mark.parametrize("name", NUMBER_OPTIONS)
def test_numbers_become_plain_numbers(name, value):
    normal = validated({name: value})[name]
    assert normal == 2
    assert type(normal) in (int, float)


@pytest.mark.parametrize("name", NUMBER_OPTIONS)
def test_numpy_numbers_become_plain_numbers(name):
    numpy = pytest.importorskip("numpy")
    for value in (numpy.int8(2), numpy.uint64(2), numpy.float16(2), numpy.float64(2)):
        assert type(validated({name: value})[name]) in (int, float)
    with pytest.raises(OptionError):
        validated({name: numpy.float64("nan")})


def test_number_of_tasks_is_whole():
    with pytest.raises(OptionError, match=r"iter_count is 1.5"):
        validated({"iter_count": 1.5})


def test_enum_of_numbers_becomes_a_plain_number():
    normal = validated({"timeout": Level.HIGH})["timeout"]
    assert (normal, type(normal)) == (3, int)


def test_timeout_of_none_is_no_timeout():
    assert validated({"timeout": None}) == {"timeout": NO_TIMEOUT}


def test_delay_may_be_a_timedelta():
    assert validated({"delay": timedelta(minutes=1)}) == {"delay": 60}


@few
@given(st.sampled_from(NUMBER_OPTIONS), anything)
def test_number_is_normal_or_rejected(name, value):
    found, error = tried(validated, {name: value})
    assert error.startswith(f"{name} is " if error else "")
    normal = found and found[name]
    assert normal is None or type(normal) in (int, float, bool)
    assert normal is None or 0 <= normal <= MAX_SECONDS


# truth values


@pytest.mark.parametrize("name", ["save", "sync", "ack_failure", "on_commit"])
@pytest.mark.parametrize(("value", "normal"), [(True, True), (False, False), (None, None), (1, True), (0, False)])
def test_truth_values(name, value, normal):
    assert validated({name: value})[name] is normal


@pytest.mark.parametrize("name", ["save", "sync", "ack_failure", "on_commit"])
@pytest.mark.parametrize("value", ["no", "", 2, -1, 0.5, [], {}, object(), Raises(), PRETENDS], ids=kind_of)
def test_other_values_are_no_truth_values(name, value):
    with pytest.raises(OptionError, match=f"{name} is .*(True|cannot be read)"):
        validated({name: value})


def test_numpy_truth_values_become_plain():
    numpy = pytest.importorskip("numpy")
    for name in ("save", "sync", "ack_failure", "cached", "iter_cached"):
        assert validated({name: numpy.bool_(True)})[name] is True


@pytest.mark.parametrize(("value", "normal"), [(True, True), (False, False), (60, 60), (0.5, 0.5), (None, None)])
def test_cached_is_a_truth_value_or_seconds(value, normal):
    cached = validated({"cached": value})["cached"]
    assert (cached, type(cached)) == (normal, type(normal))


def test_on_commit_may_be_the_alias_of_a_database():
    assert validated({"on_commit": "default"}) == {"on_commit": "default"}
    with pytest.raises(OptionError, match="alias of a database"):
        validated({"on_commit": "nowhere"})


# the rest


def test_hook_is_a_dotted_path_or_callable():
    assert validated({"hook": "a.b"}) == {"hook": "a.b"}
    assert validated({"hook": len}) == {"hook": len}
    assert validated({"hook": ""}) == {"hook": None}
    for value in (3, ["a.b"], "x" * 257, "a\0b", " a.b", object(), b"a.b"):
        with pytest.raises(OptionError, match=r"hook is .*dotted path"):
            validated({"hook": value})


def test_chain_is_a_list_of_links():
    chain = ["time.time", ("math.floor", (1.5,), {"group": 42, "timeout": 3})]
    assert validated({"chain": chain})["chain"] == [
        ("time.time", (), {}),
        ("math.floor", (1.5,), {"q_options": {"group": "42", "timeout": 3}}),
    ]
    for value in (True, "math.floor", {"math.floor": 1}, 3, iter(())):
        with pytest.raises(OptionError, match=r"chain is .*list of links"):
            validated({"chain": value})
    with pytest.raises(OptionError, match="timeout is '3'"):
        validated({"chain": [("math.floor", (1.5,), {"timeout": "3"})]})


def test_broker_has_enqueue():
    broker = SimpleNamespace(enqueue=print)
    assert validated({"broker": broker})["broker"] is broker
    with pytest.raises(OptionError, match="get_broker"):
        validated({"broker": "redis"})


@pytest.mark.parametrize(
    "value", [5, "now", timedelta(1), datetime.max.replace(tzinfo=UTC), datetime.max, PRETENDS], ids=kind_of
)
def test_eta_is_a_datetime_of_this_century(value):
    with pytest.raises(OptionError, match=r"eta is .*datetime"):
        validated({"eta": value})


def test_naive_eta_is_in_the_current_time_zone():
    assert validated({"eta": datetime(2026, 1, 1)})["eta"] == datetime(2026, 1, 1, tzinfo=UTC)


def test_function_is_a_plain_dotted_path_or_callable():
    path = checked_func(mark_safe("math.floor"))
    assert (path, type(path)) == ("math.floor", str)
    assert checked_func(len) is len
    for func in (" ", "x" * 257, "a\0b", "a\ud800", 3, None, lambda: 1, ["math.floor"], Raises()):
        with pytest.raises(UnsendableTask):
            checked_func(func)


def test_callback_is_an_option_of_iters_only():
    assert validated({"callback": "a.b"}, ["callback"]) == {"callback": "a.b"}
    with pytest.raises(OptionError, match="'callback' is not an option of a task"):
        validated({"callback": "a.b"})


def test_error_names_option_value_and_type_in_a_short_line():
    with pytest.raises(OptionError) as caught:
        validated({"timeout": ["x" * 10_000_000]})
    assert str(caught.value).startswith("timeout is ['xxx")
    assert str(caught.value).endswith(" (list): give a number of seconds from 0 to one hundred years.")
    with pytest.raises(OptionError) as caught:
        validated({"save": "a\nb\x1b\0\ud800" * 1000})
    assert str(caught.value).isprintable()
    assert len(str(caught.value)) < 300


def test_unknown_option_is_rejected_with_a_suggestion():
    with pytest.raises(OptionError, match="'timout' is not an option of a task: did you mean 'timeout'"):
        validated({"timout": 3})
    with pytest.raises(OptionError, match="3 is not an option of a task: there are hook, group"):
        validated({3: 3})


@few
@given(st.dictionaries(st.sampled_from(options.ALL_OPTIONS), anything, max_size=4))
def test_options_are_normal_or_rejected(given_options):
    normal, error = tried(validated, given_options)
    assert error.isprintable()
    assert len(error) < 1500
    if error:
        return
    assert normal.keys() == given_options.keys()
    assert {name: value for name, value in validated(normal).items() if name != "chain"} == {
        name: value for name, value in normal.items() if name != "chain"
    }


# packages of older producers


def test_usual_package_is_returned_unchanged():
    package = new_package("math.floor", (1.5,), group="g", save=True, timeout=3)
    assert normalise_package(package) is package


def test_package_of_an_older_producer_is_normalised():
    package = new_package("math.floor", (1.5,), group=42, cached=Decimal(60), ack_failure=1, hook=TextColor.RED)
    package |= {"func": mark_safe("math.floor"), "name": "n" * 101}
    package |= {"chain": ("time.time",), "cluster": "", "schedule": 7}
    normal = normalise_package(package)
    changed = {"group": "42", "cached": 60, "ack_failure": True, "hook": "red", "name": "n" * 99 + "…"}
    assert {key: normal[key] for key in changed} == changed
    assert (normal["chain"], normal["schedule"]) == (["time.time"], "7")
    assert type(normal["func"]) is str
    assert "cluster" not in normal
    assert package["group"] == 42


@pytest.mark.parametrize(
    ("name", "value"),
    [
        ("timeout", "10"),
        ("timeout", -1),
        ("cached", "60"),
        ("group", [1]),
        ("name", {"a": 1}),
        ("save", "no"),
        ("iter_count", math.nan),
        ("chain", True),
        ("cluster", "x" * 101),
        ("hook", 5),
        ("iter_options", 5),
        ("iter_options", {"group": []}),
    ],
)
def test_invalid_value_is_an_error_with_the_other_options(name, value):
    package = new_package("math.floor", (1.5,), group=42) | {name: value}
    with pytest.raises(OptionError) as caught:
        normalise_package(package)
    rest = caught.value.package
    assert rest.get(name) != value
    assert (rest["id"], rest["func"], rest["args"]) == (package["id"], "math.floor", (1.5,))
    assert type(rest["name"]) is str
    assert normalise_package(rest) is rest


@pytest.mark.parametrize("value", [None, 5, "", "x" * 33, "a\0", "é", b"a", [1]])
def test_package_without_a_usable_id_is_unreadable(value):
    with pytest.raises(UnreadablePackage, match="id is"):
        normalise_package(new_package("math.floor") | {"id": value})


@pytest.mark.parametrize("sent", [{}, {"started": "yesterday"}, {"started": None}])
def test_package_without_a_date_was_sent_now(sent):
    package = new_package("math.floor")
    del package["started"]
    assert isinstance(normalise_package(package | sent)["started"], datetime)


@few
@given(st.dictionaries(st.sampled_from([*options.PACKAGE_RULES, "extra"]), anything, max_size=4))
def test_any_package_is_normal_unreadable_or_rejected(extra):
    package = new_package("math.floor") | extra
    try:
        normal = normalise_package(package)
    except UnreadablePackage:
        assert "id" in extra
        return
    except OptionError as error:
        normal = error.package
    assert normalise_package(normal) is normal
