"""Schedules: sends the tasks of due schedules, and synchronises schedules that code declares."""
