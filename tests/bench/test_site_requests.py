from __future__ import annotations

import pytest

from .site_requests import measure


@pytest.mark.parametrize(
    ("options", "cluster", "requests"),
    [("recommended", "busy", 200), ("recommended", "idle", 200), ("default", "idle", 1000)],
)
def test_no_request_fails_beside_a_cluster(options: str, cluster: str, requests: int) -> None:
    found = measure(requests, options, cluster)
    assert (found["requests"], found["failed"], found["errors"]) == (requests, 0, {})
