"""Workflows of several tasks: batches of iters and links of chains."""
