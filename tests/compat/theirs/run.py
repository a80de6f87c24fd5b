# It runs on Python 3.9 too.
"""Has a public edition's cluster run what waits in a database; prints the tasks as its own model shows them."""

import json

import django

django.setup()

from cases import columns  # noqa: E402
from clusters import run_a_cluster  # noqa: E402
from django_q.models import OrmQ, Task  # noqa: E402

run_a_cluster(Task.objects.count() + OrmQ.objects.count())
print(json.dumps([columns(row) for row in Task.objects.order_by("pk")]))
