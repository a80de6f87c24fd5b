"""Trials in turn, and what comes of them: lines of the table."""

from __future__ import annotations

import sys
from dataclasses import dataclass, field
from statistics import median
from typing import TYPE_CHECKING, Literal

if TYPE_CHECKING:
    from collections.abc import Callable

    from .children import Figures
    from .servers import Servers
    from .trial import Trial

    Measure = Callable[[Servers, Trial], Figures]

Bound = Literal["≥", "≤"]
TIMES = " ×"  # noqa: RUF001 (the sign of multiplication is meant)


@dataclass(frozen=True, kw_only=True)
class Line:
    """One line of the table: a figure of ours beside a peer's, or alone."""

    what: str
    ours: float
    bound: Bound
    target: float
    """Of the ratio; without a peer, of our figure."""
    peer: float | None = None
    whom: str = ""
    """Name of the peer, or its condition."""
    unit: str = ""

    @property
    def ratio(self) -> float | None:
        """Ours to the peer's."""
        return None if self.peer is None else self.ours / (self.peer or float("nan"))

    @property
    def met(self) -> bool:
        """Return True if the target is met."""
        judged = self.ours if self.ratio is None else self.ratio
        return judged >= self.target if self.bound == "≥" else judged <= self.target

    def markdown(self, row: str) -> str:
        """As a row of the table."""
        times = "" if self.peer is None else TIMES
        unit = self.unit if self.peer is None else ""
        cells = [
            row,
            self.what,
            number(self.ours) + self.unit,
            "" if self.peer is None else f"{number(self.peer)}{self.unit}, {self.whom}",
            "" if self.ratio is None else f"{self.ratio:.2f}{TIMES}",
            f"{self.bound} {number(self.target)}{times}{unit}",
            "yes" if self.met else "**no**",
        ]
        return f"| {' | '.join(cells)} |"


HEAD = "| | measure | ours | peer | ratio | target | met |\n| --- | --- | --- | --- | --- | --- | --- |"


def number(value: float) -> str:
    """With as many digits as tell something."""
    return f"{value:,.0f}" if abs(value) >= 100 else f"{value:.3g}"


@dataclass(kw_only=True)
class Series:
    """Measures trials in turn, several times, and takes medians.

    The same trials measured in the same way, for another row, are not measured again.
    """

    servers: Servers
    runs: int = 3
    scale: float = 1.0
    """Factor for the number of tasks of each trial; small values test the benchmark itself."""
    known: dict[str, list[Figures]] = field(default_factory=dict)

    def in_turn(self, measure: Measure, *trials: Trial) -> list[Figures]:
        """The median of each figure, for each trial: all of them once, then all of them again."""
        key = repr((measure, trials))
        if key not in self.known:
            scaled = [trial.scaled(self.scale) for trial in trials]
            rounds = [[self._one(measure, trial) for trial in scaled] for _ in range(self.runs)]
            self.known[key] = [medians(list(runs)) for runs in zip(*rounds, strict=True)]
        return self.known[key]

    def _one(self, measure: Measure, trial: Trial) -> Figures:
        figures = measure(self.servers, trial)
        print(f"{trial}\n  {figures}", file=sys.stderr, flush=True)
        return figures


def medians(runs: list[Figures]) -> Figures:
    """The median of each figure of the runs of one trial."""
    return {name: median(figures[name] for figures in runs) for name in runs[0]}
