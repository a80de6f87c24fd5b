"""Detects the module of the project that ended or blocked the scheduler process during its import.

The scheduler imports the modules that declare schedules, and those of scheduled functions. A module that exits or hangs
ends the process. Shared memory contains the import in progress, so that the next process does not repeat it.
"""

from __future__ import annotations

import sys
from contextlib import contextmanager, suppress
from importlib import import_module
from typing import TYPE_CHECKING

from django_q.schedules import synchronising

if TYPE_CHECKING:
    from collections.abc import Iterator

    from django_q.cluster.ipc.state import ClusterState


class Imports:
    """Records imports in shared memory: the id of a schedule, or the negative number of a declaring module.

    Args:
        state: shared memory of the cluster.
    """

    def __init__(self, state: ClusterState) -> None:
        self.state = state
        self.fatal = state.importing
        """Number of the import that ended the previous scheduler process; 0 if none did."""
        state.importing = 0

    @contextmanager
    def of(self, number: int) -> Iterator[None]:
        """Record the import that the block executes."""
        self.state.importing = number
        try:
            yield
        finally:
            self.state.importing = 0

    def take_schedule(self) -> int | None:
        """Return the id of the schedule whose function ended the previous process, once; None if there is none."""
        pk, self.fatal = (self.fatal, 0) if self.fatal > 0 else (None, self.fatal)
        return pk

    def block_module(self) -> str | None:
        """Prevent the import of the declaring module that ended the previous process.

        Returns:
            The name of the module; None if there is none.
        """
        modules = synchronising.modules()
        if not -len(modules) <= self.fatal < 0:
            return None
        module, self.fatal = modules[-self.fatal - 1], 0
        sys.modules[module] = None  # type: ignore[assignment] - so that Python refuses to import it
        return module

    def import_modules(self) -> None:
        """Import the declaring modules. `synchronise` reports those that cannot be imported."""
        for number, module in enumerate(synchronising.modules(), 1):
            with self.of(-number), suppress(BaseException):
                import_module(module)
