"""Chains go on, each link once, when the monitor is killed at the worst moments."""

from __future__ import annotations

import pytest

from .site import eventually

KILLER = '''
"""An app that kills the monitor, once for each method that the file names."""
import os, signal
from pathlib import Path
from django.apps import AppConfig

class Killer(AppConfig):
    name = "killer"

    def ready(self):
        from django_q.workflows.sent_links import SentLinks
        kill_after(SentLinks, "unsent", os.environ.get("KILL", ""))
        kill_before(SentLinks, "sent", os.environ.get("KILL", ""))

def die(moment):
    mark = Path(os.environ["NOTES"] + "." + moment)
    if not mark.exists():
        mark.touch()
        os.kill(os.getpid(), signal.SIGKILL)

def kill_after(owner, name, moment):
    """Dies when it has been found out that there is something to send, and nothing is sent."""
    method = getattr(owner, name)
    def dying(*args):
        found = method(*args)
        if found and moment == "saved":
            die(moment)
        return found
    setattr(owner, name, dying)

def kill_before(owner, name, moment):
    """Die after the link was sent and before that is recorded."""
    method = getattr(owner, name)
    def dying(*args):
        if moment == "sent":
            die(moment)
        method(*args)
    setattr(owner, name, dying)
'''

CHAIN = """
from django_q.tasks import Chain
from django_q.models import Task
chain = Chain([('jobs.mark', ('a',)), ('jobs.mark', ('b',)), ('jobs.mark', ('c',))], cached=CACHED)
chain.run()
results = chain.result(wait=60000)
tasks = chain.fetch(wait=1000)
answer = [results, [task.id for task in tasks], Task.objects.count()]
"""


@pytest.mark.parametrize("cached", [False, True], ids=["saved", "cached"])
@pytest.mark.parametrize("moment", ["saved", "sent"])
@pytest.mark.parametrize("kind", ["sqlite", "redis"])
def test_chain_survives_a_kill_between_saving_and_sending(make_site, kind, moment, cached):
    site = make_site(kind, retry=4)
    (site.folder / "killer.py").write_text(KILLER)
    with (site.folder / "site_settings.py").open("a") as settings:
        settings.write('\nINSTALLED_APPS.append("killer.Killer")\n')
    with site.cluster(KILL=moment) as cluster:
        before = eventually(lambda: cluster.pids("monitoring"), why=lambda: cluster.log)
        results, ids, rows = site.run(CHAIN.replace("CACHED", str(cached)))
        assert results == ["a", "b", "c"], cluster.log
        assert (len(set(ids)), rows) == (3, 0 if cached else 3)
        assert set(before).isdisjoint(cluster.pids("monitoring"))
        waiting = "from django_q.tasks import queue_size; answer = queue_size()"
        eventually(lambda: site.run(waiting) == 0, why=lambda: cluster.log)
        assert cluster.stop() == 0
    # What was running when the monitor was killed may run twice; what comes after it may not.
    assert sorted(set(site.notes())) == ["a", "b", "c"]
    assert site.notes().count("c") == 1
    assert site.notes().count("b") == 1
