"""The logger of Django Q."""

from __future__ import annotations

import logging
from typing import Final

logger: Final = logging.getLogger("django-q")
