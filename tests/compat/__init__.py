"""Packages and tables of the public editions, and ours that they can read."""
