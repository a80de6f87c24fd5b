"""Caches: keys that all products accept, and calls with a timeout."""
