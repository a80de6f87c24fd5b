"""Figures that are computed from records, without a process."""

from __future__ import annotations

import re
from typing import TYPE_CHECKING

import pytest

from .body import Record
from .figures import drain_rate
from .pressure import backlogs
from .rows import ROWS
from .series import Line, Series
from .servers import Servers
from .table import SHORT
from .trial import ROOT, Trial

if TYPE_CHECKING:
    from .children import Figures


@pytest.mark.parametrize(
    ("line", "met"),
    [
        (Line(what="", ours=250, peer=100, bound="≥", target=2.5), True),
        (Line(what="", ours=249, peer=100, bound="≥", target=2.5), False),
        (Line(what="", ours=50, peer=100, bound="≤", target=0.5), True),
        (Line(what="", ours=51, peer=100, bound="≤", target=0.5), False),
        (Line(what="", ours=4, bound="≤", target=4), True),
        (Line(what="", ours=3, bound="≥", target=4), False),
        (Line(what="", ours=3, peer=0, bound="≥", target=4), False),
    ],
)
def test_target_is_of_the_ratio_and_without_a_peer_of_our_figure(line: Line, met: bool) -> None:
    assert line.met is met
    assert line.markdown("a").endswith("| yes |" if met else "| **no** |")


def test_trials_are_measured_in_turn_and_medians_taken() -> None:
    order: list[str] = []
    figures = iter([1.0, 10.0, 3.0, 30.0, 2.0, 20.0])

    def measure(_servers: Servers, trial: Trial) -> Figures:
        order.append(trial.peer)
        return {"figure": next(figures)}

    with Servers() as servers:
        series = Series(servers=servers, runs=3)
        trials = Trial(), Trial(peer="huey")
        assert series.in_turn(measure, *trials) == [{"figure": 2}, {"figure": 20}]
        assert series.in_turn(measure, *trials) == [{"figure": 2}, {"figure": 20}]
    assert order == ["ours", "huey"] * 3


def test_drain_rate_leaves_the_first_tenth_out() -> None:
    slow = [Record(index, 0, index) for index in range(10)]
    quick = [Record(index, 0, 9 + (index - 9) / 100) for index in range(10, 100)]
    assert drain_rate(slow + quick) == pytest.approx(100)


def test_backlog_is_what_is_offered_and_has_not_run() -> None:
    records = [Record(index, sent=50 + index / 10, ran=50 + index / 10 + 0.55) for index in range(31)]
    assert list(backlogs(records, rate=10)) == [6, 6, 6]


def test_sender_who_falls_behind_has_a_backlog() -> None:
    records = [Record(index, sent=50 + index / 5, ran=50 + index / 5) for index in range(31)]
    assert list(backlogs(records, rate=10)) == [5, 10, 15]


def test_every_row_of_the_table_has_its_measurement() -> None:
    page = (ROOT / "docs/explanation/performance.md").read_text(encoding="utf-8")
    assert set(re.findall(r"^\| ([a-z]) \|", page, re.MULTILINE)) == ROWS.keys() == set("abcdefghijklmnopqrs")
    assert ROWS.keys() - set(SHORT.split(",")) == {"m", "n", "q"}
