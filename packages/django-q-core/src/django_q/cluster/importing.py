"""Finds out which module of the project ended the scheduler process, or hung, while it was imported.

The scheduler imports modules that declare schedules, and those of scheduled functions. One that exits or hangs ends the
process; what was being imported is in shared memory, so that the successor does not repeat it.
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
    """Notes in shared memory what is imported: the id of a schedule, or the negative number of a declaring module.

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
        """Note what is imported meanwhile."""
        self.state.importing = number
        try:
            yield
        finally:
            self.state.importing = 0

    def take_schedule(self) -> int | None:
        """Return the id of the schedule whose function ended the previous process, once."""
        pk, self.fatal = (self.fatal, 0) if self.fatal > 0 else (None, self.fatal)
        return pk

    def block_module(self) -> str | None:
        """Let the declaring module that ended the previous process not be imported in this one.

        Returns:
            Its name; None if there is none.
        """
        modules = synchronising.modules()
        if not -len(modules) <= self.fatal < 0:
            return None
        module, self.fatal = modules[-self.fatal - 1], 0
        sys.modules[module] = None  # type: ignore[assignment] - so that Python refuses to import it
        return module

    def import_modules(self) -> None:
        """Import the declaring modules; `synchronise` finds out which of them cannot be."""
        for number, module in enumerate(synchronising.modules(), 1):
            with self.of(-number), suppress(BaseException):
                import_module(module)
