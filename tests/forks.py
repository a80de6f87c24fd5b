"""Runs functions of tests in forked processes."""

from __future__ import annotations

from typing import TYPE_CHECKING

from django_q.testing.conformance.availability import forked

if TYPE_CHECKING:
    from collections.abc import Callable


def in_a_fork(holds: Callable[[], bool]) -> bool:
    """Return True if *holds* returns True in a forked process, which ends then."""

    def check() -> None:
        assert holds()

    with forked(check) as exit_code:
        return exit_code() == 0
