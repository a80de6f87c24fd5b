"""Schedules: what is due becomes tasks, and what the code declares becomes schedules."""
