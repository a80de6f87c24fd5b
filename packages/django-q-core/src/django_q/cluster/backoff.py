"""How long to wait before trying again."""

from __future__ import annotations

import random

FIRST_SECONDS = 0.1
LONGEST_SECONDS = 10.0


class Backoff:
    """Doubles the wait with each failure, with jitter, so that many clusters do not come back at once."""

    def __init__(self) -> None:
        self.failures = 0

    @property
    def seconds(self) -> float:
        """How long to wait now; 0.0 while all is well."""
        if not self.failures:
            return 0.0
        longest = min(LONGEST_SECONDS, FIRST_SECONDS * 2 ** min(self.failures - 1, 16))
        return longest * random.uniform(0.5, 1.0)

    def failed(self) -> bool:
        """Count a failure; whether it is the first of its row."""
        self.failures += 1
        return self.failures == 1

    def succeeded(self) -> bool:
        """Count a success; whether it ends a row of failures."""
        ended = self.failures > 0
        self.failures = 0
        return ended
