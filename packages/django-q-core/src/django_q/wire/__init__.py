"""The envelope: a task as it is queued."""
