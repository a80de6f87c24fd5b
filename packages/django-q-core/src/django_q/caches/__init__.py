"""Caches: keys that every product accepts, and calls that end."""
