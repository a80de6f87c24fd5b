"""Reads the activity of all clusters, and sums it for the bars of charts."""

from __future__ import annotations

import time
from typing import TYPE_CHECKING, Any, Final, NamedTuple

from django.db.models import Sum
from django.utils.translation import gettext_lazy as _

from django_q.cluster.activity import MINUTE_SECONDS
from django_q.cluster.ipc.activity import Numbers
from django_q.models import Activity

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence

MAX_NUMBER: Final = 2**53
"""Greatest number that is shown. Sums of greater ones have no exact value."""


class Bar(NamedTuple):
    """Activity of a part of a span."""

    numbers: Numbers
    minutes: int
    """Length. That of the last bar ends with the present minute."""

    @property
    def attempts(self) -> int:
        """Number of attempts that ended."""
        return self.numbers.successes + self.numbers.failures

    @property
    def rate(self) -> float:
        """Attempts per minute."""
        return self.attempts / self.minutes

    @property
    def failed(self) -> float:
        """Failures in percent of the attempts; 0 without attempts."""
        return 100 * self.numbers.failures / self.attempts if self.attempts else 0.0

    @property
    def wait(self) -> float:
        """Average waiting time in seconds; 0 without first attempts."""
        return self.numbers.wait_seconds / self.numbers.waits if self.numbers.waits else 0.0


class Span(NamedTuple):
    """Time that a row of charts shows. It ends with the present minute."""

    title: Any
    bars: int
    """Number of bars."""
    bar_minutes: int
    """Length of each."""

    def first_minute(self, present: int) -> int:
        """Return the first minute of the first bar. Bars begin at multiples of their length.

        Args:
            present: the present minute.
        """
        return (present // self.bar_minutes - self.bars + 1) * self.bar_minutes

    def sums(self, activity: Mapping[int, Numbers], present: int) -> list[Bar]:
        """Return the bars.

        Args:
            activity: numbers by minute.
            present: the present minute.
        """
        first = self.first_minute(present)
        sums = [Numbers()] * self.bars
        for minute, numbers in activity.items():
            if first <= minute <= present:
                index = (minute - first) // self.bar_minutes
                sums[index] = sums[index].plus(numbers)
        last_minutes = present % self.bar_minutes + 1
        return [*(Bar(each, self.bar_minutes) for each in sums[:-1]), Bar(sums[-1], last_minutes)]


SPANS: Final = (Span(_("Last hour"), 60, 1), Span(_("Last day"), 96, 15))


def present_minute() -> int:
    """Return the number of the present minute since the epoch, as `Activity.minute`."""
    return int(time.time()) // MINUTE_SECONDS


def activity_of(first: int, last: int) -> dict[int, Numbers]:
    """Return the sums of all clusters by minute.

    Args:
        first: the first minute.
        last: the last one.
    """
    sums = [Sum(name) for name in Numbers._fields]
    rows = Activity.objects.filter(minute__range=(first, last)).values_list("minute").annotate(*sums)
    return {minute: Numbers(*map(valid, numbers)) for minute, *numbers in rows.order_by()}


def valid(number: float | None) -> Any:
    """Return a number; 0 for one that no cluster writes."""
    return number if number is not None and 0 < number <= MAX_NUMBER else 0


def total(bars: Sequence[Bar]) -> Bar:
    """Return the sum of all bars of a span."""
    sums = [sum(column) for column in zip(*(bar.numbers for bar in bars), strict=True)]
    return Bar(Numbers(*sums), sum(bar.minutes for bar in bars))
