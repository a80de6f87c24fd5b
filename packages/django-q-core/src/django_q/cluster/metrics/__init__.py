"""Counts of a cluster for its metrics. Without `qcluster --http`, nothing is counted."""
