"""Draws the activity of clusters as small charts, each with its numbers as text."""

from __future__ import annotations

from datetime import UTC, datetime
from typing import TYPE_CHECKING, Any, Final, NamedTuple

from django.utils import timezone
from django.utils.formats import date_format, number_format
from django.utils.translation import gettext as _

from django_q.admin.activity import SPANS, activity_of, present_minute, total
from django_q.clock import in_project_time
from django_q.cluster.activity import MINUTE_SECONDS
from django_q.terminal.snapshot import Problems
from django_q.terminal.views import clock

if TYPE_CHECKING:
    from collections.abc import Sequence

    from django_q.admin.activity import Bar, Span

HEIGHT: Final = 100
"""Height of the highest bar, in units of the picture."""

STEP, BAR_WIDTH = 4, 3
"""Distance between the left edges of two bars, and width of each."""


class Chart(NamedTuple):
    """One chart, with values as texts."""

    kind: str
    """End of the class that gives it a colour."""
    title: str
    figure: str
    """The value of the whole span."""
    count: str
    """The number of attempts behind it."""
    highest: str
    """The value of the highest bar."""
    heights: list[int]

    @property
    def text(self) -> str:
        """The numbers in words, for people who do not see the bars."""
        return f"{self.title}: {self.figure}. {self.count}. {self.highest}."

    @property
    def width(self) -> int:
        """Width in units of the picture."""
        return len(self.heights) * STEP

    @property
    def path(self) -> str:
        """The bars as an SVG path: numbers and commands."""
        return "".join(
            f"M{index * STEP} {HEIGHT}v-{height}h{BAR_WIDTH}v{height}z"
            for index, height in enumerate(self.heights)
            if height
        )


class ShownSpan(NamedTuple):
    """Charts of one span."""

    title: str
    start: str
    end: str
    """Local times of the first and the last bar."""
    charts: list[Chart]


def chart_values() -> dict[str, Any]:
    """Return the variables of the template: the spans, none without activity, and the reasons why it cannot be read."""
    present, problems = present_minute(), Problems()
    first = min(span.first_minute(present) for span in SPANS)
    activity = problems.reading(lambda: activity_of(first, present), {})
    spans = [shown(span, span.sums(activity, present), present) for span in SPANS] if activity else []
    return {"spans": spans, "chart_height": HEIGHT, "chart_problems": problems.sentences}


def shown(span: Span, bars: Sequence[Bar], present: int) -> ShownSpan:
    """Return the charts of a span.

    Args:
        span: the span.
        bars: its bars.
        present: the present minute.
    """
    return ShownSpan(
        title=str(span.title),
        start=local_time(span.first_minute(present)),
        end=local_time(present),
        charts=[throughput(bars), failure_rate(bars), waiting_time(bars)],
    )


def throughput(bars: Sequence[Bar]) -> Chart:
    """Return the chart of the attempts per minute."""

    def text(value: float) -> str:
        return _("%(rate)s per minute") % {"rate": number(value)}

    every, rates = total(bars), [bar.rate for bar in bars]
    count = _("Attempts: %(count)s") % {"count": number_format(every.attempts)}
    return chart("throughput", _("Throughput"), text(every.rate), count, text(max(rates)), rates)


def failure_rate(bars: Sequence[Bar]) -> Chart:
    """Return the chart of the failures in percent of the attempts."""

    def text(value: float) -> str:
        return _("%(share)s%%") % {"share": number(value)}

    every, shares = total(bars), [bar.failed for bar in bars]
    count = _("Failures: %(count)s") % {"count": number_format(every.numbers.failures)}
    figure = text(every.failed) if every.attempts else "-"
    return chart("failures", _("Failure rate"), figure, count, text(max(shares)), shares)


def waiting_time(bars: Sequence[Bar]) -> Chart:
    """Return the chart of the average waiting time of first attempts."""
    every, waits = total(bars), [bar.wait for bar in bars]
    count = _("First attempts: %(count)s") % {"count": number_format(every.numbers.waits)}
    figure = duration(every.wait) if every.numbers.waits else "-"
    return chart("waits", _("Waiting time"), figure, count, duration(max(waits)), waits)


def chart(kind: str, title: str, figure: str, count: str, highest: str, values: Sequence[float]) -> Chart:
    """Return a chart whose bars have the height of their value. One that is not 0 can be seen."""
    most = max(values)
    heights = [max(round(HEIGHT * value / most), 1) if value else 0 for value in values]
    return Chart(kind, title, figure, count, _("Highest bar: %(value)s") % {"value": highest}, heights)


def number(value: float) -> str:
    """Return a number with at least two digits if it is no integer, in the format of the user's language."""
    decimals = 0 if value >= 10 or not value % 1 else 1 if value >= 1 else 2 if value >= 0.1 else 3
    return number_format(f"{value:.{decimals}f}", decimals)


def duration(seconds: float) -> str:
    """Return a time in milliseconds, seconds, or hours, minutes and seconds."""
    if seconds >= MINUTE_SECONDS:
        return clock(seconds)
    return f"{number(seconds)} s" if seconds >= 1 or not seconds else f"{number(seconds * 1000)} ms"


def local_time(minute: int) -> str:
    """Return the time of day of a minute, in the zone and format of the user."""
    moment = in_project_time(datetime.fromtimestamp(minute * MINUTE_SECONDS, UTC))
    return date_format(timezone.localtime(moment) if timezone.is_aware(moment) else moment, "TIME_FORMAT")
