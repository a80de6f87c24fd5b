"""Collects the state of clusters, queues and tasks, and renders it for a terminal or as JSON."""
