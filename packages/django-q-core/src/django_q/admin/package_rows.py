"""Rows and details of packages for the admin. Only plain values are read; nothing of the project is unpickled."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, Final, Self

from django.utils.translation import gettext as _
from django.utils.translation import gettext_lazy

from django_q.admin.values import (
    MAX_LISTED_CHARACTERS,
    MAX_SHOWN_CHARACTERS,
    beginning,
    breakable,
    monospaced,
    notation,
)
from django_q.brokers.packages import ReadPackage
from django_q.terminal.views import clock
from django_q.text import one_line, storable
from django_q.wire.metadata import described

if TYPE_CHECKING:
    from django_q.brokers import ListedPackage
    from django_q.wire.codec import PackageCodec

MAX_PACKAGE_CHARACTERS: Final = 1_000
"""Maximum length of the signed package on its page."""

LABELS: Final = {
    "id": gettext_lazy("task id"),
    "name": gettext_lazy("name"),
    "func": gettext_lazy("function"),
    "group": gettext_lazy("group"),
    "cluster": gettext_lazy("cluster"),
    "schedule": gettext_lazy("schedule"),
    "hook": gettext_lazy("hook"),
    "started": gettext_lazy("sent"),
}
"""Labels of metadata that have a row each."""

CALL_KEYS: Final = frozenset({*LABELS, "args", "kwargs"})
"""Keys of a package that are no options."""


@dataclass(frozen=True, kw_only=True)
class ShownPackage(ReadPackage):
    """A package of a list."""

    position: int
    """Position in the list."""
    seconds: float
    """Seconds until the end of its delay or lease."""

    @classmethod
    def of_listed(cls, listed: ListedPackage, position: int, codec: PackageCodec) -> Self:
        """Read a package.

        Args:
            listed: the package.
            position: its position in the list.
            codec: codec of the cluster.
        """
        read = ReadPackage.of(listed.package, codec)
        return cls(**vars(read), position=position, seconds=listed.seconds)

    @property
    def task_id(self) -> str:
        """Id of the task; a dash if it cannot be read."""
        return self._label("id")

    @property
    def name(self) -> str:
        """Name of the task."""
        return self._label("name")

    @property
    def func(self) -> str:
        """Dotted path of the function."""
        return self._label("func")

    @property
    def group(self) -> str:
        """Group of the task."""
        return self._label("group")

    @property
    def short_reason(self) -> str:
        """Why the package is unreadable; a dash if its metadata can be read."""
        return beginning(self.reason, MAX_LISTED_CHARACTERS) or "-"

    @property
    def time_left(self) -> str:
        """Time until the end of its delay or lease."""
        return clock(self.seconds)

    def _label(self, key: str) -> str:
        value = self.metadata.get(key)
        return "-" if value is None else breakable(beginning(one_line(value), MAX_LISTED_CHARACTERS))


def details_of(shown: ShownPackage, codec: PackageCodec) -> list[tuple[Any, str]]:
    """Return labels and values of the page of a package.

    Args:
        shown: the package.
        codec: codec of the cluster.
    """
    rows: list[tuple[Any, str]] = []
    if shown.reason:
        rows.append((_("unreadable because"), beginning(shown.reason)))
    rows += [
        (label, breakable(one_line(shown.metadata[key])))
        for key, label in LABELS.items()
        if shown.metadata.get(key) is not None
    ]
    if not shown.reason:
        values = described(codec, shown.package)
        options = {key: value for key, value in values.items() if key not in CALL_KEYS}
        rows += [
            (_("arguments"), block(notation(lambda: values.get("args", ())))),
            (_("keyword arguments"), block(notation(lambda: values.get("kwargs", {})))),
            (_("options"), block(notation(lambda: options))),
        ]
    rows += [
        (_("size"), _("%s characters") % f"{len(shown.package):,}"),
        (_("signed package"), block(storable(shown.package), MAX_PACKAGE_CHARACTERS)),
    ]
    return rows


def block(text: str, limit: int = MAX_SHOWN_CHARACTERS) -> str:
    """Return a text in a monospaced block. A large one is truncated."""
    return monospaced(beginning(text, limit))
