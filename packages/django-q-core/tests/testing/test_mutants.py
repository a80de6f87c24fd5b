"""Each mutant breaks the tests in its `caught_by`, which the correct broker passes.

`DJANGO_Q_MUTANT=FoldsNames` runs this mutant against the whole suite instead.
"""

from __future__ import annotations

import os
import sys
from contextlib import contextmanager
from typing import TYPE_CHECKING, ClassVar

import pytest
from django_q.exceptions import BrokerError
from django_q.testing import BrokerConformance, MemoryServer
from django_q.testing.mutants import CLIENT_ERRORS, MUTANTS, TOO_LARGE_BYTES, CorrectBroker, Mutant

if TYPE_CHECKING:
    from collections.abc import Iterable, Iterator

pytestmark = pytest.mark.variant

CHOSEN = os.environ.get("DJANGO_Q_MUTANT")
"""Name of the only mutant to run."""

SHORT_WAITS = {"TIMEOUT_SECONDS": 3.0, "MAX_MEASUREMENTS": 1}
"""Constants of the suite with less tolerance for a busy machine, because mutants are expected to fail."""

FAILURES = (AssertionError, TimeoutError, BrokerError, pytest.fail.Exception)
"""Errors of a broken promise. Another error is a mistake in the mutant."""

PROMISES = {name for name in dir(BrokerConformance) if name.startswith("test_")}


class CorrectSuite(BrokerConformance):
    broker_class: ClassVar[type[CorrectBroker]] = CorrectBroker
    shared = False
    client_errors = CLIENT_ERRORS

    @pytest.fixture
    def make_broker(self):
        return self.broker_class

    @pytest.fixture
    def too_large(self) -> int:
        return TOO_LARGE_BYTES

    @pytest.fixture
    def client_raises(self):
        @contextmanager
        def raising(broker: CorrectBroker, error: Exception) -> Iterator[None]:
            broker.failure = error
            yield
            broker.failure = None

        return raising


class ServedSuite(CorrectSuite):
    shared = True

    @pytest.fixture
    def make_broker(self):
        with MemoryServer():
            yield self.broker_class


class Broken:
    """Expects failures of the tests in `caught_by`."""

    broker_class: ClassVar[type[Mutant]]
    steps: ClassVar[int] = 1_000

    @pytest.fixture(autouse=True)
    def short_waits(self, monkeypatch: pytest.MonkeyPatch):
        suite = [module for name, module in sys.modules.items() if name.startswith("django_q.testing.conformance.")]
        for module in suite:
            for constant in SHORT_WAITS.keys() & vars(module).keys():
                monkeypatch.setattr(module, constant, SHORT_WAITS[constant])

    @pytest.fixture(autouse=True)
    def expected_to_fail(self, request: pytest.FixtureRequest):
        if {request.node.name, request.function.__name__} & {*self.broker_class.caught_by}:
            reason = self.broker_class.__doc__ or ""
            request.applymarker(pytest.mark.xfail(reason=reason, strict=True, raises=FAILURES))


def only(suite: type[CorrectSuite], promises: Iterable[str]) -> type[CorrectSuite]:
    """Remove all other tests of a suite."""
    for name in PROMISES - {promise.partition("[")[0] for promise in promises}:
        setattr(suite, name, None)
    return suite


def suite_of(mutant: type[Mutant]) -> type[CorrectSuite]:
    kind = ServedSuite if mutant.served else CorrectSuite
    if mutant.__name__ == CHOSEN:
        return type(f"Test{CHOSEN}", (kind,), {"broker_class": mutant})
    return only(type(f"Test{mutant.__name__}", (Broken, kind), {"broker_class": mutant}), mutant.caught_by)


MINE = [mutant for mutant in MUTANTS if CHOSEN in (None, mutant.__name__)]
globals().update({f"Test{mutant.__name__}": suite_of(mutant) for mutant in MINE})

if CHOSEN is None:

    class TestCorrectBroker(CorrectSuite):
        """Tests that the mutants break."""

    class TestServedCorrectBroker(ServedSuite):
        """Tests that mutants break in several processes."""

    only(TestCorrectBroker, {name for mutant in MUTANTS if not mutant.served for name in mutant.caught_by})
    only(TestServedCorrectBroker, {name for mutant in MUTANTS if mutant.served for name in mutant.caught_by})


@pytest.mark.parametrize("mutant", MUTANTS)
def test_mutant_has_a_docstring_and_breaks_promises(mutant: type[Mutant]):
    assert mutant.__doc__
    assert mutant.caught_by
    assert {name.partition("[")[0] for name in mutant.caught_by} <= PROMISES
