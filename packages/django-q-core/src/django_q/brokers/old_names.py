"""Old names of brokers that are now separate distributions."""

from __future__ import annotations

from typing import TYPE_CHECKING

from django_q.brokers.registry import BROKERS

if TYPE_CHECKING:
    from collections.abc import Callable

    from django_q.brokers.base import Broker


def broker_named(module: str, name: str, key: str) -> Callable[[str], type[Broker]]:
    """Return a `__getattr__` for *module* that resolves *name* to the broker of the Q_CLUSTER key *key*."""

    def __getattr__(asked: str) -> type[Broker]:  # noqa: N807 - it becomes one
        if asked != name:
            raise AttributeError(f"module {module!r} has no attribute {asked!r}")
        return BROKERS.load(key)

    return __getattr__
