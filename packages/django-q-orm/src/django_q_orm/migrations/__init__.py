"""The tables of queues and of statistics."""
