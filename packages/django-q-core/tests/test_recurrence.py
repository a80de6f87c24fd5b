from __future__ import annotations

import pytest
from django_q.recurrence import cron_error


@pytest.mark.parametrize(
    "text", ["0 22 * * 1-5", "*/5 * * * *", "*/5 * * * * 30", "0 0 29 2 *", "@daily", "0 0 * * sun"]
)
def test_cron_expression_can_be_used(text: str) -> None:
    assert cron_error(text) is None


@pytest.mark.parametrize("text", ["", "* * * *", "61 * * * *", "a b c d e", "0 0 30 2 *", "H * * * *", "@reboot"])
def test_cron_error_says_what_to_write(text: str) -> None:
    assert "Write five fields" in (cron_error(text) or "")
