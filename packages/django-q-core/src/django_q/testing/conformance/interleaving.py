"""Promise about random sequences of calls: each answer is the one that the contract predicts."""

from __future__ import annotations

import os
from typing import cast

import pytest

from .suite import MakeBroker, Suite

STEPS_PER_EXAMPLE = 50
"""Number of operations on one queue."""


class InterleavingPromises(Suite):
    """Random operations of several clients.

    `DJANGO_Q_STEPS=10000` makes more steps, `DJANGO_Q_SEED` chooses other operations. The same seed repeats a failure.
    """

    def test_random_operations_are_predicted(self, make_broker: MakeBroker) -> None:
        """Compare each answer with the prediction of a model. Needs hypothesis."""
        pytest.importorskip("hypothesis")
        from hypothesis import HealthCheck, Phase, seed, settings
        from hypothesis.stateful import run_state_machine_as_test

        from .machine import Machine

        asked = int(os.environ.get("DJANGO_Q_STEPS", self.steps))
        number = int(os.environ.get("DJANGO_Q_SEED", "0"))
        chosen = settings(
            database=None,
            deadline=None,
            max_examples=-(-asked // STEPS_PER_EXAMPLE),
            phases=[Phase.generate],  # shrinking repeats operations that wait, and takes minutes
            stateful_step_count=STEPS_PER_EXAMPLE,
            suppress_health_check=list(HealthCheck),
        )

        @seed(number)
        def machine() -> Machine:
            return Machine(self, make_broker)

        # hypothesis accepts any callable without parameters, but its annotation allows only classes.
        run_state_machine_as_test(cast("type[Machine]", machine), settings=chosen)
