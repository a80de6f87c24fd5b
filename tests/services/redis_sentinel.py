"""Redis Sentinel, for tests: a master, a replica, and a sentinel that watches them."""

from __future__ import annotations

from typing import Any

from tests.services.redis import Redis

PATIENT = 60_000
"""Silence of a running master after which the sentinel replaces it (milliseconds). A busy machine causes less."""

IMPATIENT = 2000
"""Silence of an ended master after which the sentinel replaces it (milliseconds): longer than it takes to reconnect."""


class Member(Redis):
    """The master or the replica."""

    follows: Redis | None = None
    """Its master; None if it is one."""

    @property
    def options(self) -> dict[str, str]:
        """Synchronise replicas without a delay."""
        options = {**super().options, "repl-diskless-sync-delay": "0"}
        if self.follows is not None:
            options["replicaof"] = f"{self.follows.host} {self.follows.port}"
        return options

    def ready(self) -> bool:
        """Return True if it has all data of its master."""
        return super().ready() and (self.follows is None or "master_link_status:up" in self.say("INFO replication"))


class RedisSentinel(Redis):
    """The sentinel. It starts and ends the two servers that it watches.

    `stop` ends the present master; `start` starts it again, and waits for a master.
    """

    product = "redis-sentinel"
    service_name = "mymaster"

    def __init__(self) -> None:
        super().__init__()
        self.members = Member(), Member()

    @property
    def setting(self) -> dict[str, Any]:
        """Return the value of `Q_CLUSTER["redis"]`."""
        return {"sentinels": [(self.host, self.port)], "service_name": self.service_name}

    @property
    def leader(self) -> Member:
        """Return the present master."""
        first, second = self.members
        answer = self.say(f"SENTINEL get-master-addr-by-name {self.service_name}")
        return second if f"\n{second.port}" in answer else first

    def prepare(self) -> None:
        """Write the configuration, which a sentinel needs as a file."""
        name = self.service_name
        lines = [
            f"bind {self.host}",
            f"port {self.port}",
            f"sentinel monitor {name} {self.leader.address.replace(':', ' ')} 1",
            f"sentinel down-after-milliseconds {name} {PATIENT}",
            f"sentinel failover-timeout {name} 5000",
        ]
        (self.folder / "sentinel.conf").write_text("\n".join(lines))

    def command(self) -> list[str]:
        """Run as a sentinel."""
        return [super().command()[0], "sentinel.conf", "--sentinel"]

    def ready(self) -> bool:
        """Return True if its master is a master, and it knows a replica with all data of the master."""
        known = self.say(f"SENTINEL replicas {self.service_name}")
        self.say("SENTINEL debug info-period 500")  # or it looks every ten seconds
        return "status=ok" in self.say("INFO sentinel") and "master-link-status\r\n$2\r\nok" in known

    def start(self, within: float = 30) -> None:
        """Start the servers that do not run, and make one the replica at once. The sentinel would do that later."""
        if self.running:  # it may be choosing a new master: wait for that
            self.wait(lambda: self.leader.running and self._leads(self.leader), within)
            self._replace_after(PATIENT)
        leader = self.leader
        for member in sorted(self.members, key=lambda member: member is not leader):
            member.follows = None if member is leader else leader
            member.start(within)
            if member is not leader:
                member.say(f"REPLICAOF {leader.host} {leader.port}")
        super().start(within)
        self.wait(self.ready, within)

    def stop(self) -> None:
        """End the master."""
        self._replace_after(IMPATIENT)
        self.leader.kill()

    def flush(self) -> None:
        """Delete all data."""
        self.leader.flush()

    def fail_over(self) -> None:
        """Make the replica the master."""
        before = self.leader
        self.wait(lambda: self.say(f"SENTINEL FAILOVER {self.service_name}") == "+OK")
        self.wait(lambda: self.leader is not before and self._leads(self.leader))

    def close(self) -> None:
        """End all three servers."""
        super().close()
        for member in self.members:
            member.close()

    def _replace_after(self, milliseconds: int) -> None:
        self.say(f"SENTINEL SET {self.service_name} down-after-milliseconds {milliseconds}")

    @staticmethod
    def _leads(member: Member) -> bool:
        return "role:master" in member.say("INFO replication")
