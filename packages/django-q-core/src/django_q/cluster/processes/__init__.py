"""Processes that the sentinel starts. Each module has the `ClusterProcess` of one role.

They are a package of their own, because `django_q.cluster.pusher`, `worker`, `monitor` and `scheduler` are functions of
the public editions: a module of the same name would take their place.
"""
