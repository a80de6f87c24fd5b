from __future__ import annotations

from unittest.mock import patch

import pytest
from django.test import override_settings
from django_q import clock
from django_q.clock import Deadline, Seldom


@pytest.mark.parametrize("use_tz", [True, False])
def test_now_is_what_django_stores(use_tz: bool) -> None:
    with override_settings(USE_TZ=use_tz):
        assert (clock.now().tzinfo is not None) is use_tz


def test_local_time_is_that_of_the_zone() -> None:
    assert str(clock.local_now("Asia/Tokyo").tzinfo) == "Asia/Tokyo"
    assert clock.local_now(None).tzinfo is None


def test_deadline_passes() -> None:
    with patch("django_q.clock.monotonic", return_value=100.0) as time:
        deadline = Deadline.after(5)
        assert (deadline.passed, deadline.left(60), deadline.left(2)) == (False, 5, 2)
        time.return_value = 105.0
        assert (deadline.passed, deadline.left(60)) == (True, 0)


def test_no_deadline_never_passes() -> None:
    assert not Deadline.after(None).passed
    assert Deadline.after(None).left(2) == 2


def test_what_takes_long_is_done_seldom() -> None:
    with patch("django_q.clock.monotonic", return_value=100.0) as time:
        seldom = Seldom()
        assert seldom.due
        with seldom.timed():
            time.return_value = 100.5
        time.return_value = 110.4
        assert not seldom.due
        time.return_value = 110.5
        assert seldom.due


def test_what_takes_long_is_due_after_a_while_in_any_case() -> None:
    with patch("django_q.clock.monotonic", return_value=100.0) as time:
        seldom = Seldom(longest=1)
        with seldom.timed():
            time.return_value = 100.5
        assert not seldom.due
        time.return_value = 101.5
        assert seldom.due
