"""Where outcomes are kept until somebody asks: the database, or the cache."""

from __future__ import annotations
