"""A Redis Cluster, for tests: three masters that share the slots."""

from __future__ import annotations

from typing import Any

from tests.services.ports import free_port
from tests.services.redis import Redis

SLOTS = 16_384


class Node(Redis):
    """One of the masters."""

    product = "redis-cluster"

    def __init__(self) -> None:
        super().__init__()
        self.bus = free_port()

    @property
    def options(self) -> dict[str, str]:
        """Configuration of a node."""
        cluster = {"cluster-enabled": "yes", "cluster-node-timeout": "15000", "cluster-port": str(self.bus)}
        return {**super().options, **cluster}


class RedisCluster(Node):
    """The first node, which starts and ends the others."""

    def __init__(self) -> None:
        super().__init__()
        self.others = [Node(), Node()]

    @property
    def nodes(self) -> list[Redis]:
        """All nodes."""
        return [self, *self.others]

    @property
    def setting(self) -> dict[str, Any]:
        """Return the value of `Q_CLUSTER["redis"]`."""
        return {"startup_nodes": [(self.host, self.port)]}

    def start(self, within: float = 30) -> None:
        """Start the nodes that do not run. At the first start, distribute the slots."""
        for node in self.others:
            node.start(within)
        super().start(within)
        if "cluster_known_nodes:1\r" in self.say("CLUSTER INFO"):
            self._found()
        self.wait(lambda: all("cluster_state:ok" in node.say("CLUSTER INFO") for node in self.nodes), within)

    def stop(self) -> None:
        """End all nodes."""
        super().stop()
        for node in self.others:
            node.stop()

    def flush(self) -> None:
        """Delete all data."""
        for node in self.nodes:
            node.say("FLUSHALL")

    def close(self) -> None:
        """End all nodes, and delete their folders."""
        super().close()
        for node in self.others:
            node.close()

    def _found(self) -> None:
        share = -(-SLOTS // len(self.nodes))
        for number, node in enumerate(self.nodes):
            node.say(f"CLUSTER SET-CONFIG-EPOCH {number + 1}")
            node.say(f"CLUSTER ADDSLOTSRANGE {number * share} {min((number + 1) * share, SLOTS) - 1}")
        for node in self.others:
            self.say(f"CLUSTER MEET {node.host} {node.port} {node.bus}")
