"""Exceptions of Django Q. Their docstrings are their default messages."""

from __future__ import annotations

from typing import TYPE_CHECKING

from django.core.exceptions import ImproperlyConfigured

if TYPE_CHECKING:
    from collections.abc import Iterable

    from django_q.wire.package import TaskPackage


class DjangoQError(Exception):
    """Django Q failed."""

    def __init__(self, *args: object) -> None:
        super().__init__(*(args or (first_line(type(self)),)))


class ConfigurationError(DjangoQError, ImproperlyConfigured):
    """Q_CLUSTER is invalid: correct the settings."""


class MissingPlugin(ConfigurationError):
    """No installed distribution offers this plugin: install one that does."""


class BrokenPlugin(MissingPlugin):
    """This plugin is installed, and cannot be imported: reinstall it with what it needs."""


class BrokerError(DjangoQError):
    """The broker could not execute a request."""

    sent: frozenset[int] = frozenset()
    """Positions of the packages that `enqueue_many` queued before it failed.

    The others were not queued, or the broker does not know whether they were."""


class BrokerUnavailable(BrokerError):
    """The broker's server is unavailable: check that it runs, and its address."""


class PackageTooLarge(BrokerError):
    """The broker's product rejects packages of this size: send a reference instead of the data."""


class PackageError(DjangoQError):
    """A package cannot be executed."""


class UnreadablePackage(PackageError):
    """The package cannot be verified or unpickled: compare SECRET_KEY and the cluster's name."""


class UnknownFunction(PackageError):
    """The function of the package cannot be imported: deploy it where the cluster runs."""


class UnsendableTask(PackageError, TypeError):
    """The task cannot be sent: use a function that can be imported, and arguments that can be pickled."""


class OptionError(DjangoQError, TypeError):
    """An option of a task does not exist, is invalid or contradicts another: correct the call."""

    package: TaskPackage | None = None
    """Received package without its invalid options, with which its failure is saved; None for errors of a call."""


class UnreadableArguments(DjangoQError, ValueError):
    """The arguments of a schedule cannot be read: write literals."""


class ScheduleError(DjangoQError, ValueError):
    """The task of the schedule cannot be sent, or its slots cannot be calculated: correct the schedule."""


class TaskError(DjangoQError):
    """A task ended without a result."""


class TaskPending(TaskError):
    """The task has no result yet: wait longer, or call again."""


class TaskFailed(TaskError):
    """The task failed, or was cancelled.

    Args:
        message: message of the exception in the task.
        exception_class: dotted path of its class; empty if it is not known.
        traceback: text of its traceback; empty if there is none.
    """

    def __init__(self, message: str = "", exception_class: str = "", traceback: str = "") -> None:
        super().__init__(message, exception_class, traceback)
        self.message, self.exception_class, self.traceback = message, exception_class, traceback

    def __str__(self) -> str:
        kind = self.exception_class.rpartition(".")[2]
        return f"{kind}: {self.message}" if kind else self.message


class WorkerDied(TaskError):
    """The worker process died during the task."""


class NoAttemptsLeft(TaskError):
    """All attempts at the task ended without an outcome: there is no further attempt."""


class ResultNotPicklable(TaskError):
    """The return value of the task cannot be pickled: return plain values."""


class ResultNotSaved(TaskError):
    """The outcome of the task cannot be saved as it is: a failure with the reason is saved in its place."""


class FollowUpFailed(TaskError):
    """Work after the end of a task failed: the next link of its chain could not be sent, for example."""


class ClusterDied(DjangoQError):
    """The cluster ended unexpectedly: see its log for the reason."""


class ClusterNotStarted(DjangoQError):
    """The cluster cannot start: a server is unavailable, or tables are missing."""


class ResultsUnavailable(DjangoQError):
    """Results cannot be saved or read now: check that the database or cache runs, and its address."""


class UnsuitableOutcome(DjangoQError):
    """The outcome does not fit into the database."""


class TaskCancelled(SystemExit):
    """The task was cancelled."""

    def __init__(self, *args: object) -> None:
        super().__init__(*(args or ("The task was cancelled.",)))


class TimeoutException(SystemExit):
    """The task ran longer than its timeout."""


def mark_sent(error: BaseException, positions: Iterable[int]) -> None:
    """Set the positions of the queued packages on the error of a failed `enqueue_many`.

    Args:
        error: error that is raised, not necessarily a BrokerError.
        positions: positions of the packages, from 0.
    """
    vars(error)["sent"] = frozenset(positions)


def sent_before(error: BaseException) -> frozenset[int]:
    """Return the positions of the packages that were queued before `enqueue_many` failed."""
    return getattr(error, "sent", frozenset())


def first_line(kind: type[DjangoQError]) -> str:
    """Return the first line of the docstring of an exception class."""
    return (kind.__doc__ or kind.__name__).strip().splitlines()[0]
