"""Starts a process with any start method: sets Django up, then imports the modules of the cluster."""

from __future__ import annotations

import io
import pickle
import sys
from importlib import import_module
from multiprocessing import current_process
from multiprocessing.reduction import ForkingPickler
from typing import TYPE_CHECKING, Any

from django_q.exceptions import ConfigurationError

from .django_setup import DjangoSetup

if TYPE_CHECKING:
    from collections.abc import Callable

    from django_q.cluster.ipc.lifeline import Lifeline

PICKLE_ERRORS = (pickle.PicklingError, TypeError, AttributeError)
"""Errors of `pickle` about an object that it does not support."""


class Launch:
    """Target of a process: a function and its arguments.

    A forked process calls the function directly. Other processes unpickle in two steps: the first sets Django up, the
    second imports the modules of the cluster. In the opposite order, `LOGGING` would disable the loggers of Django Q,
    because they would exist already.

    Args:
        target: function of a module.
        *args: its arguments.
        lifeline: ends a process that was not forked when its maker dies, even while Django is set up.
        environment: variables for a process that was not forked, in addition to those of this process.
    """

    def __init__(
        self,
        target: Callable[..., None],
        *args: Any,
        lifeline: Lifeline | None = None,
        environment: dict[str, str] | None = None,
    ) -> None:
        self.call = target, args
        self.lifeline = lifeline
        self.environment = environment or {}

    def __getstate__(self) -> tuple[Any, ...]:
        """Return the two parts that another process unpickles.

        Raises:
            ConfigurationError: the settings contain a value that cannot be pickled.
        """
        call = io.BytesIO()
        try:
            _Pickler(call, self.lifeline).dump(self.call)
        except PICKLE_ERRORS as error:
            raise ConfigurationError(
                f"Q_CLUSTER contains a value that cannot be pickled ({error}): replace it, or set start_method to "
                '"fork" where the system has it.'
            ) from error
        return self.lifeline, DjangoSetup.of_this_process(self.environment), call.getvalue()

    def __setstate__(self, state: tuple[Any, ...]) -> None:
        self.lifeline, self._setup, self._pickled_call = state

    def __call__(self) -> None:
        """Call the function in the new process."""
        if not hasattr(self, "call"):
            self._prepare()
        target, args = self.call
        target(*args)

    def _prepare(self) -> None:
        if self.lifeline is not None:
            self.lifeline.guard(forked=False)
        try:
            self._setup.run()
            self.call = _Unpickler(io.BytesIO(self._pickled_call), self.lifeline).load()
        except BaseException as error:  # noqa: BLE001 - edge of the process: its parent starts another one
            import_module("django_q.log.messages").process.crashed(current_process().name, error)
            sys.exit(1)


class _Pickler(ForkingPickler):
    """Pickles a call without the lifeline: `multiprocessing` refuses to pass the same file twice."""

    def __init__(self, file: io.BytesIO, lifeline: Lifeline | None) -> None:
        super().__init__(file)
        self.lifeline = lifeline

    def persistent_id(self, obj: object) -> str | None:
        return "lifeline" if obj is self.lifeline and obj is not None else None


class _Unpickler(pickle.Unpickler):
    """Unpickles a call with the lifeline that was unpickled before."""

    def __init__(self, file: io.BytesIO, lifeline: Lifeline | None) -> None:
        super().__init__(file)
        self.lifeline = lifeline

    def persistent_load(self, pid: str) -> Lifeline | None:
        return self.lifeline
