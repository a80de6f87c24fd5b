from __future__ import annotations

from .site_requests import measure


def test_no_request_fails_beside_a_busy_cluster():
    found = measure(200, "recommended", "busy")
    assert (found["requests"], found["failed"], found["errors"]) == (200, 0, {})
