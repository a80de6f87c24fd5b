"""The log of a real cluster as JSON, with the `LOGGING` of the documentation."""

from __future__ import annotations

import json
import re
from itertools import dropwhile
from pathlib import Path

from .site import eventually

PAGE = Path(__file__).parents[2] / "docs" / "how-to" / "logging.md"

JOBS = """
def parent():
    import logging
    from django_q.tasks import async_task
    child = async_task("jobs.boom", "two\\nlines", task_name="child", group="two\\nlines")
    logging.getLogger("shop").info("sent %s", child, extra={"task_id": 7, "order": {"id": 8}})
    return child
"""


def example():
    """The `LOGGING` of the page."""
    return re.search(r"^```python\n(LOGGING = .*?)^```", PAGE.read_text(encoding="utf-8"), re.MULTILINE | re.DOTALL)[1]


def records_of(cluster):
    """The records of a cluster. Each line of its log is one, after the system checks of Django."""
    lines = dropwhile(lambda line: not line.startswith("{"), cluster.log.splitlines(keepends=True))
    return [json.loads(line) for line in lines if line.endswith("\n")]


def fields(record):
    names = ("task_id", "task_name", "func", "attempt", "queue")
    return tuple(record.get(name) for name in names)


def test_json_log_follows_a_task(make_site):
    site = make_site("sqlite", name="mysite", max_attempts=1)
    with (site.folder / "site_settings.py").open("a") as settings:
        settings.write(example())
    with (site.folder / "jobs.py").open("a") as jobs:
        jobs.write(JOBS)
    with site.cluster() as cluster:
        parent = site.run("from django_q.tasks import async_task; answer = async_task('jobs.parent', task_name='one')")
        eventually(lambda: "task.failed" in cluster.log, why=lambda: cluster.log)
        eventually(lambda: "task.processed" in cluster.log, why=lambda: cluster.log)
    records = records_of(cluster)
    events = {}
    for record in records:
        events.setdefault(record.get("event"), []).append(record)

    (running,) = events["cluster.running"]
    name = re.fullmatch(r"Q Cluster (\S+) running\. \[mysite\]", running["message"])[1]
    assert {(record["cluster"], record["queue"]) for record in records} == {(name, "mysite")}

    (processing, child_processing), (processed,) = events["task.processing"], events["task.processed"]
    for record in (processing, processed):
        assert fields(record) == (parent, "one", "jobs.parent", 1, "mysite")
    assert 0 < processed["duration"] < 60
    (own,) = events[None]
    assert fields(own) == (parent, "one", "jobs.parent", 1, "mysite")
    assert own["extra"] == {"task_id": 7, "order": {"id": 8}}

    (enqueued,), (failed,) = events["task.enqueued"], events["task.failed"]
    child = own["message"].removeprefix("sent ")
    assert fields(enqueued) == (child, "child", "jobs.boom", None, "mysite")
    for record in (child_processing, failed):
        assert fields(record) == (child, "child", "jobs.boom", 1, "mysite")
    assert failed["level"] == "ERROR"
    assert 0 < failed["duration"] < 60
