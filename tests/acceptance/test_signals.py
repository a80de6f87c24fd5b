"""Every signal, with its documented arguments, from a real cluster."""

from __future__ import annotations

import json

import psutil
import pytest

from .site import eventually, lives

LISTENER = '''
"""An app that notes every signal with all its arguments."""
import json, os
from django.apps import AppConfig

class Listener(AppConfig):
    name = "listener"

    def ready(self):
        from django_q import signals
        for name in ("pre_enqueue", "pre_execute", "post_execute_in_worker", "post_execute", "post_spawn"):
            getattr(signals, name).connect(Noter(name), weak=False)

class Noter:
    def __init__(self, name):
        self.__name__ = self.name = name

    def __call__(self, sender, signal, **arguments):
        from jobs import note
        record = {"signal": self.name, "sender": sender, "pid": os.getpid(), "arguments": sorted(arguments)}
        if task := arguments.get("task"):
            record["task"] = {key: task[key] for key in ("id", "name", "result", "success") if key in task}
        if func := arguments.get("func"):
            record["func"] = func if isinstance(func, str) else ["callable", func.__name__]
        if "proc_name" in arguments:
            record["proc_name"] = arguments["proc_name"]
        note(json.dumps(record))
        raise RuntimeError("a receiver harms nothing")
'''


@pytest.fixture(params=["sqlite", "redis"])
def site(request, make_site):
    """A site that listens."""
    site = make_site(request.param)
    (site.folder / "listener.py").write_text(LISTENER)
    with (site.folder / "site_settings.py").open("a") as settings:
        settings.write('\nINSTALLED_APPS.append("listener.Listener")\n')
    return site


def test_signals_have_documented_arguments_in_their_process(site):
    with site.cluster() as cluster:
        task_id = site.run(
            """
            from django_q.tasks import async_task, result
            answer = async_task('math.floor', 1.5, task_name='signalled')
            result(answer, 20000)
            """
        )

        def told() -> list[dict]:
            return [json.loads(line) for line in site.notes()]

        eventually(lambda: any(each["signal"] == "post_execute" for each in told()), why=lambda: cluster.log)
        workers = cluster.pids("ready for work")
        names = [psutil.Process(pid).name() for pid in workers]
        assert names
        spawned = [each for each in told() if each["signal"] == "post_spawn"]
        assert sorted(each["pid"] for each in spawned) == sorted(workers)
        for each in spawned:
            assert (each["sender"], each["arguments"]) == ("django_q", ["proc_name"])
            assert f"{each['proc_name']} ready for work at {each['pid']}" in cluster.log
        assert len({each["proc_name"] for each in spawned}) == 2

        by_name = {each["signal"]: each for each in told() if each["signal"] != "post_spawn"}
        assert all(each["sender"] == "django_q" for each in by_name.values())
        sent = {"id": task_id, "name": "signalled"}
        done = sent | {"result": 1, "success": True}
        enqueued, begun = by_name["pre_enqueue"], by_name["pre_execute"]
        ran, saved = by_name["post_execute_in_worker"], by_name["post_execute"]
        assert (enqueued["arguments"], enqueued["task"]) == (["task"], sent)
        assert (begun["arguments"], begun["task"]) == (["func", "task"], sent)
        assert begun["func"] == ["callable", "floor"]
        assert (ran["arguments"], ran["task"]) == (["func", "task"], done)
        assert (saved["arguments"], saved["task"]) == (["task"], done)
        assert begun["pid"] == ran["pid"]
        assert begun["pid"] in workers
        assert saved["pid"] in workers
        assert not lives(enqueued["pid"])  # the sender was another process


def test_worker_that_comes_in_place_of_another_is_spawned_too(site):
    with site.cluster() as cluster:
        first = eventually(lambda: len(found := cluster.pids("ready for work")) == 2 and found)
        psutil.Process(first[0]).kill()
        replaced = eventually(lambda: set(cluster.pids("ready for work")) - set(first), why=lambda: cluster.log)
        told = [json.loads(line) for line in site.notes()]
        assert replaced < {each["pid"] for each in told if each["signal"] == "post_spawn"}
