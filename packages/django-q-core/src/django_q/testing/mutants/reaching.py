"""Mutants that use wrong names, connections or errors."""

# ruff: noqa: D102 - the docstring of a mutant documents its only method

from __future__ import annotations

import contextlib
import unicodedata
from typing import TYPE_CHECKING, Any

from django_q.exceptions import BrokerError, BrokerUnavailable, PackageTooLarge, mark_sent

from .correct import Mutant

if TYPE_CHECKING:
    from collections.abc import Sequence

    from django_q.brokers import Delivery


class FoldsNames(Mutant):
    """Uses the same queue for names that differ in case."""

    caught_by = ("test_names_that_differ_in_case_are_separate",)

    @classmethod
    def queue_key(cls, name: str) -> str:
        return name.lower()


class TruncatesNames(Mutant):
    """Uses the same queue for names with the same first 90 characters."""

    caught_by = ("test_names_that_differ_at_their_end_are_separate",)

    @classmethod
    def queue_key(cls, name: str) -> str:
        return name[:90]


class RemovesSpacesFromNames(Mutant):
    """Uses the same queue for names that differ in spaces."""

    caught_by = ("test_names_with_spaces_are_separate",)

    @classmethod
    def queue_key(cls, name: str) -> str:
        return name.replace(" ", "")


class FoldsCharactersOfLaterPlanes(Mutant):
    """Uses the same queue for names that differ in an emoji."""

    caught_by = ("test_names_equal_in_a_collation_are_separate",)

    @classmethod
    def queue_key(cls, name: str) -> str:
        return "".join(character if character <= "\uffff" else "?" for character in name)


class IgnoresSpaceAtTheEndOfNames(Mutant):
    """Uses the same queue for names that differ in space at their end."""

    caught_by = ("test_names_equal_in_a_collation_are_separate",)

    @classmethod
    def queue_key(cls, name: str) -> str:
        return name.rstrip()


class NormalizesNames(Mutant):
    """Uses the same queue for names that differ in how an accent is encoded."""

    caught_by = ("test_names_equal_in_a_collation_are_separate",)

    @classmethod
    def queue_key(cls, name: str) -> str:
        return unicodedata.normalize("NFC", name)


class SharesAConnection(Mutant):
    """Uses the connection of its parent after a fork."""

    caught_by = ("test_forked_child_receives_packages_of_another",)
    served = True
    inherited: Any = None

    @property
    def connection(self) -> Any:
        return self.inherited

    @connection.setter
    def connection(self, connection: Any) -> None:
        self.inherited = connection


class SwallowsErrors(Mutant):
    """Reports an empty queue if the client raises an error."""

    caught_by = ("test_errors_of_the_client_have_their_class",)

    def dequeue_many(self, limit: int, wait: float) -> list[Delivery]:
        try:
            return super().dequeue_many(limit, wait)
        except BrokerError:
            return []


class SwallowsErrorsOfThePurge(Mutant):
    """Reports a queue as purged if the client raises an error."""

    caught_by = ("test_errors_of_the_client_have_their_class",)

    def purge_queue(self) -> None:
        with contextlib.suppress(BrokerError):
            super().purge_queue()


class CountsNoLeasesAfterAnError(Mutant):
    """Reports no leases when the client cannot count them."""

    caught_by = ("test_errors_of_the_client_have_their_class",)

    def lock_size(self) -> int:
        try:
            return super().lock_size()
        except BrokerError:
            return 0


class SwallowsErrorsOfExpiry(Mutant):
    """Reports a lease as expired if the client raises an error."""

    caught_by = ("test_errors_of_the_client_have_their_class",)

    def expire(self, ack_id: int) -> bool:
        try:
            return super().expire(ack_id)
        except BrokerError:
            return True


class SwallowsErrorsOfDelayedPackages(Mutant):
    """Reports a delayed package as sent if the client raises an error."""

    caught_by = ("test_errors_of_the_client_have_their_class",)

    def enqueue(self, package: str, *, delay: float = 0, priority: int = 0) -> int:
        try:
            return super().enqueue(package, delay=delay, priority=priority)
        except BrokerUnavailable:
            if not delay:
                raise
            return 0


class TakesErrorsForLostLeases(Mutant):
    """Reports a lease as lost if the renewal raises an error."""

    caught_by = ("test_errors_of_the_client_have_their_class",)

    def is_lost(self, delivery: Delivery) -> bool:
        try:
            return super().is_lost(delivery)
        except BrokerError:
            return True


class CountsCharacters(Mutant):
    """Compares the number of characters with the limit of bytes."""

    caught_by = ("test_package_that_is_too_large_is_rejected",)

    def _check_size(self, package: str) -> None:
        super()._check_size("x" * len(package))


class CountsNoDeadLettersAfterAnError(Mutant):
    """Reports no dead letters when the client cannot count them."""

    caught_by = ("test_errors_of_the_client_have_their_class",)

    def dead_size(self) -> int:
        try:
            return super().dead_size()
        except BrokerError:
            return 0


class PassesErrorsOn(Mutant):
    """Raises the error of the client, unchanged, when it counts the queue."""

    caught_by = ("test_errors_of_the_client_have_their_class",)

    def queue_size(self) -> int:
        if self.failure is not None:
            raise self.failure
        return super().queue_size()


class TooLargeIsUnavailable(Mutant):
    """Raises `BrokerUnavailable` for a package that is too large."""

    caught_by = ("test_package_that_is_too_large_is_rejected",)

    def enqueue(self, package: str, *, delay: float = 0, priority: int = 0) -> int:
        try:
            return super().enqueue(package, delay=delay, priority=priority)
        except PackageTooLarge as error:
            raise BrokerUnavailable from error


class HidesWhatWasSent(Mutant):
    """Hides which packages were sent before one was rejected."""

    caught_by = ("test_error_has_the_positions_that_were_sent",)

    def enqueue_many(self, packages: Sequence[str], *, priority: int = 0) -> list[int]:
        try:
            return super().enqueue_many(packages, priority=priority)
        except PackageTooLarge as error:
            mark_sent(error, ())
            raise


class PingLies(Mutant):
    """Reports a server as available without a request."""

    caught_by = ("test_ping_of_an_unavailable_server_is_false",)

    def ping(self) -> bool:
        return True


class KeepsStatistics(Mutant):
    """Never deletes expired statistics."""

    caught_by = ("test_statistics_expire",)

    def set_stat(self, key: str, value: str, timeout: float) -> None:
        super().set_stat(key, value, 3_600)


REACHING_MUTANTS = (
    FoldsNames,
    TruncatesNames,
    RemovesSpacesFromNames,
    FoldsCharactersOfLaterPlanes,
    IgnoresSpaceAtTheEndOfNames,
    NormalizesNames,
    SharesAConnection,
    SwallowsErrors,
    SwallowsErrorsOfThePurge,
    CountsNoLeasesAfterAnError,
    SwallowsErrorsOfExpiry,
    SwallowsErrorsOfDelayedPackages,
    TakesErrorsForLostLeases,
    CountsCharacters,
    CountsNoDeadLettersAfterAnError,
    PassesErrorsOn,
    TooLargeIsUnavailable,
    HidesWhatWasSent,
    PingLies,
    KeepsStatistics,
)
