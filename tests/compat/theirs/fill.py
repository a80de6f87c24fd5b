# It runs on Python 3.9 too.
# ruff: noqa: UP032
"""Fills a database with a public edition: tasks its own cluster ran, schedules, and rows that still wait.

Prints every row as its own models show it.
"""

import json

import django

django.setup()

from cases import CASES, RUNS, columns  # noqa: E402
from clusters import run_a_cluster  # noqa: E402
from django.core.management import call_command  # noqa: E402
from django_q.models import OrmQ, Schedule, Task  # noqa: E402
from django_q.tasks import async_task, schedule  # noqa: E402


def queue(cases):
    """Queue calls under the names of their cases."""
    for name, case in cases.items():
        options = dict({"task_name": name}, **case["options"])
        async_task(case["func"], *case["args"], **dict(case["kwargs"], **options))


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
