# It runs on Python 3.9 too.
# ruff: noqa: UP032
"""Fills a database with a public edition: tasks its own cluster ran, schedules, and rows that still wait.

Prints every row as its own models show it.
"""

import json
import signal
import subprocess
import sys
import time

import django

django.setup()

from cases import CASES, RUNS, columns  # noqa: E402
from django.core.management import call_command  # noqa: E402
from django_q.models import OrmQ, Schedule, Task  # noqa: E402
from django_q.tasks import async_task, schedule  # noqa: E402


def queue(cases):
    """Queue calls under the names of their cases."""
    for name, case in cases.items():
        options = dict({"task_name": name}, **case["options"])
        async_task(case["func"], *case["args"], **dict(case["kwargs"], **options))


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


call_command("migrate", verbosity=0)
queue(RUNS)
run_a_cluster(len(RUNS))
for number, (code, _label) in enumerate(Schedule.TYPE):
    details = {"I": {"minutes": 5}, "C": {"cron": "0 22 * * 1-5"}}.get(code, {})
    schedule("math.hypot", 3, number, name="type {}".format(code), schedule_type=code, repeats=number - 1, **details)
schedule("builtins.dict", x=1, hook="builtins.print", q_options={"timeout": 30}, schedule_type="D", cluster="golden")
Schedule.objects.filter(name="type D").update(task=Task.objects.get(name="failure").pk)
queue(CASES)

rows = {model.__name__: [columns(row) for row in model.objects.order_by("pk")] for model in (Task, Schedule, OrmQ)}
print(json.dumps(rows, indent=1))
