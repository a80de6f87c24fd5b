"""What can go wrong, and what to do about it."""

from __future__ import annotations

from typing import TYPE_CHECKING

from django.core.exceptions import ImproperlyConfigured

if TYPE_CHECKING:
    from collections.abc import Iterable

    from django_q.wire.package import TaskPackage


class DjangoQError(Exception):
    """Something went wrong in Django Q."""

    def __init__(self, *args: object) -> None:
        super().__init__(*(args or (first_line(type(self)),)))


class ConfigurationError(DjangoQError, ImproperlyConfigured):
    """Q_CLUSTER cannot be used as it is: correct the settings."""


class MissingPlugin(ConfigurationError):
    """No installed distribution offers this plugin: install one that does."""


class BrokerError(DjangoQError):
    """The broker could not do what it was asked."""

    sent: frozenset[int] = frozenset()
    """Positions of the packages of an `enqueue_many` that were put on the queue before it failed.

    The others were not, or the broker does not know it."""


class BrokerUnavailable(BrokerError):
    """The broker's server cannot be reached, or refuses all requests for now: check that it runs, and its address."""


class PackageTooLarge(BrokerError):
    """The broker's product refuses packages of this size: send a reference instead of the data."""


class PackageError(DjangoQError):
    """A task package cannot be run."""


class UnreadablePackage(PackageError):
    """The package cannot be verified or unpickled: compare SECRET_KEY and the cluster's name."""


class UnknownFunction(PackageError):
    """The function of the package cannot be imported: deploy it where the cluster runs."""


class UnsendableTask(PackageError, TypeError):
    """The task cannot be written down: name a function that can be imported, and give it arguments that pickle."""


class OptionError(DjangoQError, TypeError):
    """An option of a task does not exist, is invalid or contradicts another: correct the call."""

    package: TaskPackage | None = None
    """A received package without its invalid options, to record its failure; None for errors of a call."""


class UnreadableArguments(DjangoQError, ValueError):
    """The arguments of a schedule cannot be read: write literals."""


class ScheduleError(DjangoQError, ValueError):
    """The schedule cannot be sent or reckoned: correct it."""


class TaskError(DjangoQError):
    """A task ended without a result."""


class WorkerDied(TaskError):
    """The worker process died while it ran the task."""


class NoAttemptsLeft(TaskError):
    """All attempts at the task ended without an outcome: it is not executed again."""


class ResultNotPicklable(TaskError):
    """The task returned something that cannot be pickled: return plain values."""


class ClusterDied(DjangoQError):
    """The cluster ended without having been told to: its log says why."""


class ResultsUnavailable(DjangoQError):
    """Results cannot be saved or read now: check that the database or cache runs, and its address."""


class UnsuitableOutcome(DjangoQError):
    """The outcome does not fit into the database."""


class TimeoutException(SystemExit):
    """The task ran longer than its timeout."""


def mark_sent(error: BaseException, positions: Iterable[int]) -> None:
    """Note in an error which packages of a failed `enqueue_many` are on the queue.

    Args:
        error: that is raised; it need not be a BrokerError.
        positions: of the packages, from 0.
    """
    vars(error)["sent"] = frozenset(positions)


def sent_before(error: BaseException) -> frozenset[int]:
    """Return the positions of the packages that are on the queue although `enqueue_many` failed."""
    return getattr(error, "sent", frozenset())


def first_line(kind: type[DjangoQError]) -> str:
    """The sentence that describes a kind of error."""
    return (kind.__doc__ or kind.__name__).strip().splitlines()[0]
