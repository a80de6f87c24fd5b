"""Mutants that list packages wrongly."""

# ruff: noqa: D102 - the docstring of a mutant documents its only method

from __future__ import annotations

from django_q.brokers.listing import ListedPackage, PackageState

from .correct import Mutant


class ListsLeasesAsWaiting(Mutant):
    """Lists leased packages as waiting ones, too."""

    caught_by = ("test_leased_packages_are_listed",)

    def list_packages(self, state: PackageState, limit: int, offset: int = 0) -> list[ListedPackage]:
        found = super().list_packages(state, limit, offset)
        return found + super().list_packages(PackageState.LEASED, limit) if state is PackageState.WAITING else found


class ListsByAge(Mutant):
    """Lists waiting packages by their age, whatever their priority."""

    caught_by = ("test_waiting_packages_are_listed_by_priority",)

    def list_packages(self, state: PackageState, limit: int, offset: int = 0) -> list[ListedPackage]:
        if state is not PackageState.WAITING:
            return super().list_packages(state, limit, offset)
        waiting = sorted(self._queue().waiting, key=lambda entry: entry.number)
        return [ListedPackage(entry.package) for entry in waiting[offset : offset + limit]]


class ListsNewestDelayFirst(Mutant):
    """Lists the packages with the longest delay first."""

    caught_by = ("test_delayed_packages_are_listed_by_their_time",)

    def list_packages(self, state: PackageState, limit: int, offset: int = 0) -> list[ListedPackage]:
        found = super().list_packages(state, limit, offset)
        return found[::-1] if state is PackageState.DELAYED else found


class ListsTheFirstPageAlways(Mutant):
    """Ignores the offset of a list."""

    caught_by = ("test_lists_are_read_in_pages", "test_lists_of_leased_and_delayed_are_read_in_pages")

    def list_packages(self, state: PackageState, limit: int, offset: int = 0) -> list[ListedPackage]:
        return super().list_packages(state, limit)


class ListsByLeasing(Mutant):
    """Leases waiting packages to list them."""

    caught_by = ("test_listed_packages_stay_as_they_are",)

    def list_packages(self, state: PackageState, limit: int, offset: int = 0) -> list[ListedPackage]:
        found = super().list_packages(state, limit, offset)
        if state is PackageState.WAITING:
            self.dequeue_many(limit, 0)
        return found


class ListsWrongStates(Mutant):
    """Lists dead letters in place of delayed packages, and no end of a lease."""

    caught_by = ("test_leased_packages_are_listed", "test_package_released_for_later_is_listed")

    def list_packages(self, state: PackageState, limit: int, offset: int = 0) -> list[ListedPackage]:
        state = PackageState.DEAD if state is PackageState.DELAYED else state
        return [ListedPackage(each.package) for each in super().list_packages(state, limit, offset)]


LISTING_MUTANTS = (
    ListsLeasesAsWaiting,
    ListsByAge,
    ListsNewestDelayFirst,
    ListsTheFirstPageAlways,
    ListsByLeasing,
    ListsWrongStates,
)
