from __future__ import annotations

import pytest
from django.test import override_settings
from django_q import clock


@pytest.mark.parametrize("use_tz", [True, False])
def test_now_has_the_form_of_django(use_tz: bool) -> None:
    with override_settings(USE_TZ=use_tz):
        assert (clock.now().tzinfo is not None) is use_tz
