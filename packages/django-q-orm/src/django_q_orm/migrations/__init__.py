"""The table the queue waits in."""
