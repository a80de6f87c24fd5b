# It runs on Python 3.9 too.
"""Commands of the site that moves, for every edition: `moving.py COMMAND ARGUMENTS`; each prints JSON."""

import json
import multiprocessing
import sys
from datetime import timedelta

import django

django.setup()

from django.contrib.auth.models import User  # noqa: E402
from django.core.management import call_command  # noqa: E402
from django.test import Client  # noqa: E402
from django.utils import timezone  # noqa: E402
from django_q.brokers import get_broker  # noqa: E402
from django_q.cluster import monitor, pusher, worker  # noqa: E402
from django_q.models import Schedule, Task  # noqa: E402
from django_q.status import Stat  # noqa: E402
from django_q.tasks import async_chain, async_iter, async_task, result, result_group, schedule  # noqa: E402

MARK = "moving_jobs.mark"


def step():
    """Execute the first task of the queue in this process."""
    tasks, results, stop = multiprocessing.Queue(), multiprocessing.Queue(), multiprocessing.Event()
    stop.set()
    pusher(tasks, stop, get_broker())
    tasks.put("STOP")
    worker(tasks, results, multiprocessing.Value("f", -1))
    results.put("STOP")
    monitor(results, get_broker())


def rotate():
    """Move the first task to the end of the queue."""
    broker = get_broker()
    [(ack_id, package)] = broker.dequeue()
    broker.enqueue(package)
    broker.acknowledge(ack_id)


def before():
    """Make the history of a site, tasks that wait, and schedules; return ids."""
    call_command("migrate", verbosity=0)
    User.objects.create_superuser("admin", "a@b.c", "admin")
    async_task(MARK, "old 1", task_name="old success", group=5)
    async_task("moving_jobs.fail", "old 2", task_name="old failure")
    step()
    step()
    chain = async_chain([(MARK, (f"link {n}",)) for n in range(3)], group="a chain")
    step()
    members = async_iter(MARK, [(f"member {n}",) for n in range(3)])
    rotate()
    step()
    ids = [
        async_task(MARK, "number", task_name=12, group=7),
        async_task(MARK, "hooked", hook="moving_jobs.hook"),
        async_task(MARK, "limited", timeout=20),
        async_task(MARK, "cached", cached=600),
        async_task("moving_jobs.fail", "failing", task_name="new failure"),
    ]
    make_schedules()
    return {"chain": chain, "iter": members, "tasks": ids}


def make_schedules():
    """Create due schedules and later ones."""
    now = timezone.now().replace(microsecond=0)
    for name, options, due in (
        ("hourly", {"schedule_type": "H"}, now - timedelta(minutes=30)),
        ("once", {"schedule_type": "O"}, now - timedelta(minutes=1)),
        ("twice", {"schedule_type": "D", "repeats": 2}, now - timedelta(hours=1)),
        ("daily", {"schedule_type": "D"}, now + timedelta(hours=20)),
        ("cron", {"schedule_type": "C", "cron": "0 0 1 1 *"}, now + timedelta(days=2)),
    ):
        made = schedule(MARK, f"schedule {name}", name=name, **options)
        Schedule.objects.filter(pk=made.pk).update(next_run=due)


def show():
    """Return what is stored."""
    tasks = Task.objects.order_by("started")
    return {
        "tasks": {task.id: [task.name, task.success, task.result, task.group] for task in tasks},
        "schedules": {each.name: [each.next_run.timestamp(), each.repeats] for each in Schedule.objects.all()},
        "queued": get_broker().queue_size() + (get_broker().lock_size() or 0),
    }


def send(*labels):
    """Send a task for each label."""
    return [async_task(MARK, label, 0.05) for label in labels]


def results(*ids):
    """Return results of tasks."""
    return [result(task_id) for task_id in ids]


def cached_results(*ids):
    """Return results that are in the cache."""
    return [result(task_id, cached=True) for task_id in ids]


def send_cached(*labels):
    """Send tasks whose results are cached: one for each label, and the same again as a group and as an iter."""
    for label in labels:
        async_task(MARK, "group " + label, cached=600, group="cached-group")
    members = async_iter(MARK, [("iter " + label,) for label in labels], cached=600)
    return [*[async_task(MARK, label, cached=600) for label in labels], members]


def cached_group():
    """Return the results of the group of `send_cached`."""
    return sorted(result_group("cached-group", cached=True) or [])


def clusters():
    """Return the ids of the clusters that publish statistics."""
    return [str(stat.cluster_id) for stat in Stat.get_all()]


def pages(*paths):
    """Return pages of the admin: status and text."""
    client = Client()
    client.force_login(User.objects.get())
    answers = [client.get(f"/admin/{path}") for path in paths]
    return [[answer.status_code, answer.content.decode()] for answer in answers]


COMMANDS = (before, show, send, send_cached, results, cached_results, cached_group, clusters, pages)

if __name__ == "__main__":
    chosen = {each.__name__: each for each in COMMANDS}[sys.argv[1]]
    print(json.dumps(chosen(*sys.argv[2:])))
