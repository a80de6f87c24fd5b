"""The log: one logger, its messages by topic, and the fields of records."""
