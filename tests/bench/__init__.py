"""Ourselves beside the peers: one task body, the same figures of each."""
