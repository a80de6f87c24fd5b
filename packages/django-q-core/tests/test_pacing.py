from __future__ import annotations

from unittest.mock import patch

from django_q.pacing import Throttle


def test_what_takes_long_is_throttled() -> None:
    with patch("django_q.pacing.monotonic", return_value=100.0) as time:
        throttle = Throttle()
        assert throttle.due
        with throttle.timed():
            time.return_value = 100.5
        time.return_value = 110.4
        assert not throttle.due
        time.return_value = 110.5
        assert throttle.due


def test_what_takes_long_is_due_after_a_while_in_any_case() -> None:
    with patch("django_q.pacing.monotonic", return_value=100.0) as time:
        throttle = Throttle(longest=1)
        with throttle.timed():
            time.return_value = 100.5
        assert not throttle.due
        time.return_value = 101.5
        assert throttle.due
