"""Mutants that renew, settle or count deliveries wrongly."""

# ruff: noqa: D102 - the docstring of a mutant documents its only method

from __future__ import annotations

import time
from typing import TYPE_CHECKING, ClassVar

from django_q.brokers import Delivery

from .correct import Mutant

if TYPE_CHECKING:
    from collections.abc import Sequence

    from django_q.brokers import AckId


class AcknowledgesFirst100(Mutant):
    """Acknowledges only the first 100 packages of a batch."""

    caught_by = ("test_lost_leases_of_a_batch_are_reported",)

    def acknowledge_many(self, ack_ids: Sequence[int]) -> list[int]:
        return super().acknowledge_many(ack_ids[:100])


class RenewsFirst100(Mutant):
    """Renews only the first 100 leases of a batch."""

    caught_by = ("test_each_lease_of_many_is_renewed",)

    def renew(self, ack_ids: Sequence[int]) -> list[int]:
        return super().renew(ack_ids[:100])


class RenewsFirst1000(Mutant):
    """Renews only the first 1,000 leases of a batch."""

    caught_by = ("test_each_lease_of_many_is_renewed",)

    def renew(self, ack_ids: Sequence[int]) -> list[int]:
        return super().renew(ack_ids[:1_000])


class ReleasesFirst1000ForLater(Mutant):
    """Releases only the first 1,000 packages of a batch if there is a delay."""

    caught_by = ("test_each_of_many_is_released_for_later",)

    def release_many(self, ack_ids: Sequence[int], delay: float = 0) -> list[int]:
        return super().release_many(ack_ids[:1_000] if delay else ack_ids, delay)


class ReordersLargeReleases(Mutant):
    """Releases 100 packages at a time, so that later parts go before earlier ones."""

    caught_by = ("test_large_batch_is_settled",)

    def release_many(self, ack_ids: Sequence[int], delay: float = 0) -> list[int]:
        parts = [ack_ids[start : start + 100] for start in range(0, len(ack_ids), 100)]
        return [lost for part in parts for lost in super(ReordersLargeReleases, self).release_many(part, delay)]


class ReleasesForLaterAfterLoss(Mutant):
    """Reports success when a lost holder releases a package with a delay."""

    caught_by = ("test_lost_lease_cannot_release_for_later",)

    def release_many(self, ack_ids: Sequence[int], delay: float = 0) -> list[int]:
        lost = super().release_many(ack_ids, delay)
        return [] if delay else lost


class ReleaseIgnoresDelay(Mutant):
    """Delivers released packages at once regardless of the delay."""

    caught_by = (
        "test_long_delays_of_releases_do_not_end",
        "test_package_released_with_a_delay_is_an_attempt",
    )

    def release_many(self, ack_ids: Sequence[int], delay: float = 0) -> list[int]:
        return super().release_many(ack_ids)


class ReleasesToTheEnd(Mutant):
    """Delivers released packages after all others."""

    caught_by = (
        "test_released_packages_keep_their_place",
        "test_prefetched_packages_are_released_to_their_place",
    )

    def release_many(self, ack_ids: Sequence[int], delay: float = 0) -> list[int]:
        waiting = self._queue().waiting
        before = len(waiting)
        lost = super().release_many(ack_ids, delay)
        waiting.rotate(-max(len(waiting) - before, 0))
        return lost


class RenewsTooShortly(Mutant):
    """Renews leases by 40 % of `retry`."""

    caught_by = ("test_leases_and_delays_end_on_time",)

    def renew(self, ack_ids: Sequence[int]) -> list[int]:
        return self._queue().renew(ack_ids, self.settings.retry * 0.4)


class RenewalAddsToTheLease(Mutant):
    """Adds `retry` to the end of a lease that it renews."""

    caught_by = ("test_leases_and_delays_end_on_time",)

    def renew(self, ack_ids: Sequence[int]) -> list[int]:
        queue = self._queue()
        ends = {ack_id: end for ack_id, (end, _entry) in queue.leased.items()}
        return [
            ack_id
            for ack_id in ack_ids
            if queue.renew([ack_id], ends.get(ack_id, 0) + self.settings.retry - time.monotonic())
        ]


class LeasesFromTheCall(Mutant):
    """Counts the wait for a package as a part of its lease."""

    caught_by = ("test_lease_begins_when_the_package_arrives",)

    def dequeue_many(self, limit: int, wait: float) -> list[Delivery]:
        end, queue = time.monotonic() + self.settings.retry, self._queue()
        taken = queue.take(limit, wait, self.settings.retry)
        queue.leased.update((token, (end, queue.leased[token][1])) for token, _package, _attempt in taken)
        return [Delivery(*each) for each in taken]


class LeasesEndEarly(Mutant):
    """Leases packages for half of `retry`."""

    caught_by = ("test_leases_and_delays_end_on_time",)

    def dequeue_many(self, limit: int, wait: float) -> list[Delivery]:
        return [Delivery(*taken) for taken in self._queue().take(limit, wait, self.settings.retry / 2)]


class RenewalHidesLoss(Mutant):
    """Reports lost leases as renewed."""

    caught_by = ("test_lost_lease_cannot_be_renewed",)

    def renew(self, ack_ids: Sequence[int]) -> list[int]:
        super().renew(ack_ids)
        return []


class ExpiresNothing(Mutant):
    """Ignores the request to expire a lease."""

    caught_by = ("test_expire_ends_the_lease_at_once",)

    def expire(self, ack_id: int) -> bool:
        return not self.renew([ack_id])


class ExpiryIsNoAttempt(Mutant):
    """Omits the attempt of a lease that it expires from the count."""

    caught_by = ("test_expire_counts_as_an_attempt",)

    def expire(self, ack_id: int) -> bool:
        return self.release(ack_id)


class ExpiryHidesLoss(Mutant):
    """Reports success when a lost holder lets its lease expire."""

    caught_by = ("test_lost_lease_cannot_expire",)

    def expire(self, ack_id: int) -> bool:
        super().expire(ack_id)
        return True


class TakesEachLeaseAsLost(Mutant):
    """Reports that each lease is lost."""

    caught_by = ("test_lost_lease_is_known",)

    def is_lost(self, delivery: Delivery) -> bool:
        super().is_lost(delivery)
        return True


class TakesNoLeaseAsLost(Mutant):
    """Reports that no lease is lost."""

    caught_by = ("test_lost_lease_is_known",)

    def is_lost(self, delivery: Delivery) -> bool:
        super().is_lost(delivery)
        return False


class AcknowledgesForOthers(Mutant):
    """Acknowledges a package of another holder."""

    caught_by = ("test_lost_lease_cannot_acknowledge",)
    packages: ClassVar[dict[AckId, str]] = {}

    def dequeue_many(self, limit: int, wait: float) -> list[Delivery]:
        found = super().dequeue_many(limit, wait)
        self.packages.update((each.ack_id, str(each.package)) for each in found)
        return found

    def acknowledge_many(self, ack_ids: Sequence[int]) -> list[int]:
        packages = {self.packages[ack_id] for ack_id in ack_ids}
        leased = [*self._queue().leased.items()]
        super().acknowledge_many([ack_id for ack_id, (_end, entry) in leased if entry.package in packages])
        return []


class LosesAttempts(Mutant):
    """Reports each delivery as the first attempt."""

    caught_by = ("test_expired_lease_is_an_attempt", "test_package_released_with_a_delay_is_an_attempt")

    def dequeue_many(self, limit: int, wait: float) -> list[Delivery]:
        return [each._replace(attempt=1) for each in super().dequeue_many(limit, wait)]


class LosesAttemptsOfLargeFetches(Mutant):
    """Reports each delivery of a fetch of five or more packages as the first attempt."""

    caught_by = ("test_each_package_of_a_fetch_has_its_attempt", "test_each_of_many_is_released_for_later")

    def dequeue_many(self, limit: int, wait: float) -> list[Delivery]:
        found = super().dequeue_many(limit, wait)
        return found if len(found) < 5 else [each._replace(attempt=1) for each in found]


class CountsReleases(Mutant):
    """Counts a release without delay as an attempt."""

    caught_by = ("test_package_released_without_delay_is_no_attempt",)

    def release_many(self, ack_ids: Sequence[int], delay: float = 0) -> list[int]:
        if delay > 0:
            return super().release_many(ack_ids, delay)
        return [ack_id for ack_id in ack_ids if not self.expire(ack_id)]


LEASING_MUTANTS = (
    AcknowledgesFirst100,
    RenewsFirst100,
    RenewsFirst1000,
    ReleasesFirst1000ForLater,
    ReordersLargeReleases,
    ReleasesForLaterAfterLoss,
    ReleaseIgnoresDelay,
    ReleasesToTheEnd,
    RenewsTooShortly,
    RenewalAddsToTheLease,
    LeasesFromTheCall,
    LeasesEndEarly,
    RenewalHidesLoss,
    ExpiresNothing,
    ExpiryIsNoAttempt,
    ExpiryHidesLoss,
    TakesEachLeaseAsLost,
    TakesNoLeaseAsLost,
    AcknowledgesForOthers,
    LosesAttempts,
    LosesAttemptsOfLargeFetches,
    CountsReleases,
)
