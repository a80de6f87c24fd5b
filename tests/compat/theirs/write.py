# It runs on Python 3.9 too.
# ruff: noqa: UP032
"""Queues every case with a public edition and prints the packages that lie in its queue, by case."""

import json

import django

django.setup()

from cases import CASES, CHAIN, ITER  # noqa: E402
from django.core.management import call_command  # noqa: E402
from django_q.models import OrmQ  # noqa: E402
from django_q.tasks import async_chain, async_iter, async_task  # noqa: E402

call_command("migrate", verbosity=0)
packages = {}


def queued(case, queue, *args, **kwargs):
    """Queue something and note what it puts into the queue."""
    queue(*args, **kwargs)
    rows = OrmQ.objects.order_by("id")
    payloads = [row.payload for row in rows]
    rows.delete()
    for number, payload in enumerate(payloads):
        packages[case if len(payloads) == 1 else "{} {}".format(case, number)] = payload


for name, case in CASES.items():
    queued(name, async_task, case["func"], *case["args"], **dict(case["kwargs"], **case["options"]))
queued("chain", async_chain, list(CHAIN), group="a chain", cached=True)
queued("iter", async_iter, "math.copysign", list(ITER))
print(json.dumps(packages, indent=1))
