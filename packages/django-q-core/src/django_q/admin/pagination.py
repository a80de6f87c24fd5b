"""Paginates lists of millions of rows without counting them."""

from __future__ import annotations

from typing import Any, Final

from django.core.paginator import Paginator
from django.utils.functional import cached_property
from django.utils.translation import gettext

MAX_LISTED_ROWS: Final = 5_000
"""Number of rows that the pages of a list contain. Search and filters find the others."""


class AtLeast(int):
    """Number of rows of which there are more."""

    def __str__(self) -> str:
        return gettext("more than %s") % int(self)

    __repr__ = __str__


class BoundedPaginator(Paginator):  # pyrefly: ignore[implicit-any-type-argument] - Django's takes none
    """Paginator of the first rows. It reads as many keys as the pages contain, and executes no `COUNT(*)`."""

    @cached_property
    def count(self) -> int:
        """Number of rows, at most `MAX_LISTED_ROWS`."""
        rows: Any = self.object_list
        keys = rows.order_by().values_list("pk", flat=True)
        found = len(keys[: MAX_LISTED_ROWS + 1])
        return found if found <= MAX_LISTED_ROWS else AtLeast(MAX_LISTED_ROWS)
