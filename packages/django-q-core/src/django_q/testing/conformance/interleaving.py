"""Promise: whatever is called in whatever order, each answer is the one that the contract predicts."""

from __future__ import annotations

import os
from typing import cast

import pytest

from .suite import MakeBroker, Suite

EXAMPLE_STEPS = 50
"""Number of operations on one queue."""


class InterleavingPromises(Suite):
    """Random operations of several clients.

    `DJANGO_Q_STEPS=10000` makes it long, `DJANGO_Q_SEED` chooses other operations; a failure is repeated by the same
    seed.
    """

    def test_random_operations_are_predicted(self, make_broker: MakeBroker) -> None:
        """Compare each answer with a model's; needs hypothesis."""
        pytest.importorskip("hypothesis")
        from hypothesis import HealthCheck, Phase, seed, settings
        from hypothesis.stateful import run_state_machine_as_test

        from .machine import Machine

        asked = int(os.environ.get("DJANGO_Q_STEPS", self.steps))
        number = int(os.environ.get("DJANGO_Q_SEED", "0"))
        chosen = settings(
            database=None,
            deadline=None,
            max_examples=-(-asked // EXAMPLE_STEPS),
            phases=[Phase.generate],  # shrinking repeats operations that wait, for minutes
            stateful_step_count=EXAMPLE_STEPS,
            suppress_health_check=list(HealthCheck),
        )

        @seed(number)
        def machine() -> Machine:
            return Machine(self, make_broker)

        # Any callable without parameters will do, its annotation knows only classes.
        run_state_machine_as_test(cast("type[Machine]", machine), settings=chosen)
