from __future__ import annotations

from datetime import timedelta
from unittest.mock import MagicMock

import pytest
from django.test import override_settings
from django.utils import timezone
from django_q import clock


@pytest.mark.parametrize("use_tz", [True, False])
@pytest.mark.parametrize("left", [MagicMock(), MagicMock(side_effect=ValueError), MagicMock(return_value="now")])
def test_now_is_a_time_even_if_a_task_has_replaced_the_function(monkeypatch, left, use_tz: bool) -> None:
    with override_settings(USE_TZ=use_tz):
        now = clock.now()
        monkeypatch.setattr(timezone, "now", left)
        assert abs(clock.now() - now) < timedelta(seconds=5)


@pytest.mark.parametrize("use_tz", [True, False])
def test_now_has_the_form_of_django(use_tz: bool) -> None:
    with override_settings(USE_TZ=use_tz):
        assert (clock.now().tzinfo is not None) is use_tz
