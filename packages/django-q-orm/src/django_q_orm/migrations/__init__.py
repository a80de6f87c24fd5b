"""Migrations of the tables of queues and statistics."""
