from __future__ import annotations

import pytest
from django_q.settings import current_settings
from django_q.wire.codec import PackageCodec
from django_q.wire.package import new_package
from django_q_orm.models import OrmQ


def row(package: object) -> OrmQ:
    return OrmQ(key="test", payload=PackageCodec.of(current_settings()).dumps(package))


def test_package_is_shown_by_its_parts() -> None:
    package = new_package("math.copysign", (2, -2), {"x": 1}, group="g", timeout=30, hook="h")
    waiting = row(package)
    assert waiting.task == package
    assert (waiting.task_id(), waiting.name()) == (package["id"], package["name"])
    assert (waiting.func(), waiting.args(), waiting.kwargs()) == ("math.copysign", (2, -2), {"x": 1})
    assert waiting.group() == "g"
    assert waiting.q_options() == {"group": "g", "timeout": 30, "hook": "h", "started": package["started"]}


def test_package_is_read_as_in_both_editions() -> None:
    waiting = row(new_package("math.floor", (1.5,)))
    assert waiting.task() == waiting.task


def test_callable_is_shown_by_its_path() -> None:
    assert row(new_package(len, ([],))).func() == "builtins.len"


@pytest.mark.parametrize(
    ("payload", "reason"),
    [("nonsense", "*BadSignature"), (PackageCodec("foreign").dumps({}), "*BadSignature")],
    ids=["nonsense", "foreign"],
)
def test_unreadable_package_is_a_star_and_the_reason(payload: str, reason: str) -> None:
    waiting = OrmQ(key="test", payload=payload)
    assert waiting.task == {"id": reason}
    assert (waiting.task_id(), waiting.name(), waiting.func(), waiting.args(), waiting.kwargs(), waiting.group()) == (
        *(reason, None, None, None, None, None),
    )


def test_package_of_missing_code_is_a_star_and_the_reason() -> None:
    payload = PackageCodec.of(current_settings()).sign(b"cno_such_module\nthing\n.")
    assert OrmQ(key="test", payload=payload).task_id() == "*ModuleNotFoundError"


@pytest.mark.parametrize("content", [None, [], "text"])
def test_signed_data_without_a_package_is_a_star_and_the_reason(content: object) -> None:
    assert row(content).task_id() == "*TypeError"


@pytest.mark.django_db
def test_row_of_a_public_edition_has_no_lease() -> None:
    assert OrmQ.objects.create(key="test", payload="x").lease is None
