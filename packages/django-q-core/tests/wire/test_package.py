from __future__ import annotations

import time
from datetime import UTC, datetime
from uuid import RFC_4122, UUID

import pytest
from django_q.humanhash import humanize
from django_q.wire import pickling
from django_q.wire.ids import member_id, new_id, next_id
from django_q.wire.package import OPTIONS, PACKED_OPTIONS, new_package


def test_id_is_32_hexadecimal_characters_and_new() -> None:
    assert len({new_id() for _ in range(100)}) == 100
    assert len(new_id()) == 32
    int(new_id(), 16)


def test_id_is_a_uuid_that_begins_with_the_time() -> None:
    before = time.time_ns() // 1_000_000
    ids = [UUID(new_id()) for _ in range(200)]
    after = time.time_ns() // 1_000_000
    assert {each.version for each in ids} == {4}
    assert {each.variant for each in ids} == {RFC_4122}
    assert all(before <= each.int >> 80 <= after for each in ids)
    digits = [{each.hex[place] for each in ids} for place in range(12, 32)]
    assert [len(seen) > 8 for seen in digits] == [place not in (12, 16) for place in range(12, 32)]


def test_derived_ids_are_constant_neighbours() -> None:
    first, second = new_id(), new_id()
    derived = [next_id(first), *(member_id(first, index) for index in range(3))]
    assert derived == [next_id(first), *(member_id(first, index) for index in range(3))]
    assert len({first, *derived, next_id(second), member_id(second, 0)}) == 7
    assert {each[:12] for each in derived} == {first[:12]}
    assert {UUID(each).variant for each in derived} == {RFC_4122}


def test_name_is_the_id_in_words() -> None:
    package = new_package("math.floor", (1.5,))
    assert package["name"] == humanize(package["id"])


def test_package_has_six_keys() -> None:
    package = new_package(
        "math.copysign", [2, -2], started=datetime(2026, 1, 1, tzinfo=UTC), task_id="f" * 32, name="n"
    )
    assert package == {
        "id": "f" * 32,
        "name": "n",
        "func": "math.copysign",
        "args": (2, -2),
        "kwargs": {},
        "started": datetime(2026, 1, 1, tzinfo=UTC),
    }


def test_keyword_arguments_are_copied() -> None:
    kwargs = {"x": 1}
    new_package("f", kwargs=kwargs)["kwargs"]["y"] = 2
    assert kwargs == {"x": 1}


@pytest.mark.parametrize("option", PACKED_OPTIONS)
def test_package_contains_options(option: str) -> None:
    assert new_package("f", **{option: 0})[option] == 0


def test_option_that_is_none_is_omitted() -> None:
    assert "timeout" not in new_package("f", timeout=None)


def test_package_does_not_contain_the_broker() -> None:
    assert "broker" in OPTIONS
    with pytest.raises(TypeError, match="not an option of a task: broker"):
        new_package("f", broker=object())


def test_unpickled_package_keeps_its_order():
    package = new_package("math.floor", (1.5,), group="g", save=True, hook="h")
    assert list(pickling.loads(pickling.dumps(package))) == list(package)
