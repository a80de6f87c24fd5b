"""Databases: their sessions, their errors, and statements for particular products."""
