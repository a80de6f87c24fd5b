"""Migrations of Django Q's tables, which continue those of the public editions."""
