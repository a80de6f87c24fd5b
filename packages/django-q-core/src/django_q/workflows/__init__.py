"""Workflows of several tasks: the batches of iters, and the links of chains."""
