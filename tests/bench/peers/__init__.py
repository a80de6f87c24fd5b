"""The task queues that are measured: one module each, imported only in processes that know their place."""

from __future__ import annotations

from importlib import import_module
from typing import TYPE_CHECKING, Protocol, cast

if TYPE_CHECKING:
    from collections.abc import Callable

    from tests.bench.trial import Trial

SERVERS: dict[str, set[str]] = {
    "ours": set(),
    "ours_django_tasks": set(),
    "huey": {"redis"},
    "dramatiq": {"redis"},
    "procrastinate": {"postgres"},
    "django_tasks": set(),
}
"""Each peer, and the servers it cannot do without."""

OURS = ("ours", "ours_django_tasks")
"""Peers that are Django Q."""


class Peer(Protocol):
    """Interface of the module of a task queue."""

    def setup(self) -> None:
        """Make its tables."""
        ...

    def producer(self) -> Callable[..., object]:
        """Return a function that enqueues one task, with the arguments of its body."""
        ...

    def worker(self, workers: int, /) -> list[str]:
        """The command that starts so many workers."""
        ...


def load(name: str) -> Peer:
    """Import a peer, which must be installed."""
    return cast("Peer", import_module(f"{__name__}.{name}"))


def servers(trial: Trial) -> set[str]:
    """The servers that a trial needs, of `redis` and `postgres`."""
    needed = set(SERVERS[trial.peer])
    if trial.database == "postgres":
        needed.add("postgres")
    if trial.peer in OURS and not trial.own_broker:
        needed.add("redis")
    return needed
