"""Packages that the public editions' wheels made can be read."""

from __future__ import annotations

import json

import pytest
from django_q.exceptions import UnreadablePackage
from django_q.execution import Executor
from django_q.finishing import Finisher
from django_q.models import Batch, Task
from django_q.settings import current_settings
from django_q.signing import PackageCodec
from django_q.tasks import result
from django_q.wire.metadata import peek

from tests.compat.editions import GOLDEN, NAME
from tests.compat.expected import ITER, expected

PACKAGES = {
    f"{path.stem}: {case}": (case, text)
    for path in sorted(GOLDEN.glob("*.json"))
    if not path.stem.endswith(".rows")
    for case, text in json.loads(path.read_text()).items()
}

pytestmark = pytest.mark.usefixtures("golden_settings")


def test_every_edition_is_here() -> None:
    editions = {label.partition(":")[0].removesuffix("-compressed") for label in PACKAGES}
    assert editions == {"django-q-1.3.9", "django-q2-1.5.4", "django-q2-1.11.1"}


@pytest.mark.parametrize("label", PACKAGES)
def test_golden_package_is_read(label: str) -> None:
    case, text = PACKAGES[label]
    package = PackageCodec(NAME).loads(text)
    wanted = expected(case)
    assert {key: package[key] for key in wanted} == wanted
    assert len(package["id"]) == 32
    assert package["name"]
    assert package["started"].utcoffset().total_seconds() == 0


@pytest.mark.parametrize("label", [label for label in PACKAGES if label.endswith(("integers", "large"))])
def test_golden_package_of_another_name_is_refused(label: str) -> None:
    with pytest.raises(UnreadablePackage):
        PackageCodec("other").loads(PACKAGES[label][1])


EDITIONS = sorted({label.partition(":")[0] for label in PACKAGES})


def iter_of(edition: str) -> list[str]:
    """Return the golden packages of an edition's iter."""
    return [PACKAGES[f"{edition}: iter {number}"][1] for number in range(len(ITER))]


@pytest.mark.django_db
@pytest.mark.parametrize("edition", EDITIONS)
def test_golden_iter_is_collated_in_the_order_of_sending(edition: str) -> None:
    settings = current_settings()
    executor, finisher = Executor(settings), Finisher(settings, broker=None)
    for text in reversed(iter_of(edition)):
        assert not Task.objects.exists()
        finisher.finish([executor.execute(executor.codec.loads(text))])
    batch = Batch.objects.get()
    assert result(batch.pk) == [-1.0, -2.0, -3.0]
    assert (batch.total, batch.done, batch.func) == (3, 3, "math.copysign")
    assert Task.objects.get().args == list(ITER)


@pytest.mark.django_db
@pytest.mark.parametrize("edition", EDITIONS)
def test_golden_iter_does_not_wait_for_a_dead_letter(edition: str) -> None:
    settings = current_settings()
    executor, finisher = Executor(settings), Finisher(settings, broker=None)
    first, *others = iter_of(edition)
    for text in others:
        finisher.finish([executor.execute(executor.codec.loads(text))])
    finisher.fail_member(peek(executor.codec, first), "dead-lettered")
    assert result(Batch.objects.get().pk) == ["dead-lettered", -2.0, -3.0]
