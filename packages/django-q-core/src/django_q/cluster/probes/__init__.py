"""HTTP server of a cluster: liveness, readiness and metrics."""
