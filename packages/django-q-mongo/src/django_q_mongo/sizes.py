"""Recognises a package that is larger than MongoDB accepts."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, Final

import bson
from django_q.exceptions import PackageTooLarge

if TYPE_CHECKING:
    from collections.abc import Sequence

    from django_q_mongo.client import Client

SMALL_CHARACTERS: Final = 1_000_000
"""A package of this length fits into a document of every server."""


def check_sizes(documents: Sequence[dict[str, Any]], client: Client) -> None:
    """Check that documents are not too large, before any of a batch is sent.

    Args:
        documents: of packages.
        client: of the server, which tells its limit.

    Raises:
        PackageTooLarge: one is larger than the server accepts.
    """
    large = [document for document in documents if len(document["payload"]) > SMALL_CHARACTERS]
    if not large:
        return
    size = max(len(bson.encode({"_id": bson.ObjectId(), **document})) for document in large)
    limit = client.admin.command("hello")["maxBsonObjectSize"]
    if size > limit:
        raise PackageTooLarge(
            f"The package makes a document of {size} bytes, MongoDB takes {limit}: send a reference instead of data."
        )
