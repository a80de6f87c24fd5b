# It runs on Python 3.9 too.
# ruff: noqa: UP032
"""A public edition's own cluster."""

import signal
import subprocess
import sys
import time

from django_q.models import OrmQ, Task


def run_a_cluster(tasks, within=60):
    """Have a cluster run what is queued, and stop it as an operator would."""
    cluster = subprocess.Popen([sys.executable, "-m", "django", "qcluster"], stdout=sys.stderr)
    deadline = time.monotonic() + within
    while (Task.objects.count() < tasks or OrmQ.objects.exists()) and time.monotonic() < deadline:
        time.sleep(0.2)
    cluster.send_signal(signal.SIGINT)
    try:
        cluster.wait(20)
    except subprocess.TimeoutExpired:
        cluster.kill()
    assert Task.objects.count() == tasks, "the cluster ran {} tasks of {}".format(Task.objects.count(), tasks)
    assert not OrmQ.objects.exists(), "{} packages are left".format(OrmQ.objects.count())
