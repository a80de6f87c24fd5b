"""Products of the brokers, and their settings for a site."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    import pytest

PRODUCTS = ["disque", "ironmq", "ministack", "mongo", "moto", "redis", "redis_cluster", "redis_sentinel", "sqlite"]

VARIANTS = ["ministack", "redis_cluster", "redis_sentinel"]
"""Products of a broker with another one in the list."""


def settings_of(request: pytest.FixtureRequest, product: str) -> tuple[dict[str, Any], Any]:
    """Return the settings of `Q_CLUSTER` for a product, and its server, which runs and is empty."""
    if product == "sqlite":
        return {"orm": "default"}, None
    server = request.getfixturevalue(f"{product}_server")
    server.start()
    match product:
        case "disque":
            return {"disque_nodes": [server.address]}, server
        case "ironmq":
            return {"iron_mq": server.options}, server
        case "ministack" | "moto":
            return {"sqs": server.options}, server.door
        case "mongo":
            return {"mongo": server.options}, server
        case "redis_cluster" | "redis_sentinel":
            server.flush()
            return {"redis": server.setting}, server
    server.flush()
    return {"redis": server.url}, server
