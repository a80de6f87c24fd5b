"""Packages that the public editions' wheels made can be read."""

from __future__ import annotations

import json

import pytest
from django_q.exceptions import UnreadablePackage
from django_q.signing import PackageCodec

from tests.compat.editions import GOLDEN, NAME
from tests.compat.expected import expected

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
