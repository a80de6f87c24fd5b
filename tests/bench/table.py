"""Measure the rows of the table and print them as Markdown.

hatch run bench:table
hatch run bench:table --rows a,b,g
hatch run bench:table --rows m,n,q --runs 1
"""

from __future__ import annotations

import argparse
import sys
from typing import TYPE_CHECKING

from .rows import ROWS
from .series import HEAD, Series
from .servers import Servers

if TYPE_CHECKING:
    from collections.abc import Sequence

SHORT = ",".join(letter for letter, row in ROWS.items() if not row.long)


def arguments(words: Sequence[str] | None = None) -> argparse.Namespace:
    """Read the command line."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--rows", default=SHORT, help=f"rows, such as a,d; name the long ones; default {SHORT}")
    parser.add_argument("--runs", type=int, default=3, help="of which the medians are taken")
    parser.add_argument("--scale", type=float, default=1, help="of all numbers of tasks: 0.02 tries the bench itself")
    return parser.parse_args(words)


def main() -> None:
    """Run by hand: the figures of each run go to the standard error stream."""
    told = arguments()
    with Servers() as servers:
        series = Series(servers=servers, runs=told.runs, scale=told.scale)
        print(HEAD, flush=True)
        for letter in told.rows.split(","):
            for line in ROWS[letter].lines(series):
                print(line.markdown(letter), flush=True)


if __name__ == "__main__":
    sys.exit(main())
