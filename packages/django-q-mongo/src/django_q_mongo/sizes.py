"""Rejects packages that are larger than the limit of MongoDB."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, Final

import bson
from django_q.exceptions import PackageTooLarge

if TYPE_CHECKING:
    from collections.abc import Sequence

    from django_q_mongo.client import Client

SMALL_CHARACTERS: Final = 1_000_000
"""Length of a package that fits into a document of each server."""


def check_sizes(documents: Sequence[dict[str, Any]], client: Client) -> None:
    """Check the sizes of documents, before any of a batch is sent.

    Args:
        documents: documents of packages.
        client: client of the server, which reports its limit.

    Raises:
        PackageTooLarge: one is larger than the limit of the server.
    """
    large = [document for document in documents if len(document["payload"]) > SMALL_CHARACTERS]
    if not large:
        return
    size = max(len(bson.encode({"_id": bson.ObjectId(), **document})) for document in large)
    limit = client.admin.command("hello")["maxBsonObjectSize"]
    if size > limit:
        raise PackageTooLarge(
            f"The document of the package has {size} bytes, and MongoDB accepts at most {limit}: "
            "send a reference instead of the data."
        )
