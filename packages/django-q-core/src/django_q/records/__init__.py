"""Keeps the records of tracked tasks: creates them when tasks are sent, and updates them with each attempt."""
