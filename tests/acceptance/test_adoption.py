"""A site of the public editions switches: its database is adopted and its queued tasks run."""

from __future__ import annotations

import ast
import json
import sqlite3
from contextlib import closing

import pytest

from tests.compat.editions import GOLDEN, NAME, SECRET_KEY, THEIRS

from .site import Site, eventually


@pytest.mark.parametrize("edition", sorted(path.stem for path in GOLDEN.glob("*.sql")))
def test_queued_tasks_of_a_public_edition_run_after_the_switch(tmp_path, edition):
    with closing(sqlite3.connect(tmp_path / "db.sqlite3")) as connection:
        connection.executescript((GOLDEN / f"{edition}.sql").read_text())
    rows = json.loads((GOLDEN / f"{edition}.rows.json").read_text())
    q_cluster = {"name": NAME, "workers": 2, "orm": "default", "ack_failures": True, "save_limit": 0}
    site = Site(tmp_path, q_cluster, apps=("django_q_orm",))
    settings = tmp_path / "site_settings.py"
    settings.write_text(settings.read_text().replace('"acceptance"', repr(SECRET_KEY)))
    site.environment["PYTHONPATH"] += f":{THEIRS}"
    site.manage("migrate", "-v0")
    queued = site.run("from django_q_orm.models import OrmQ; answer = [row.task_id() for row in OrmQ.objects.all()]")
    assert len(queued) == len(rows["OrmQ"]) > 0
    with site.cluster() as cluster:
        eventually(
            lambda: (
                site.run("from django_q.brokers import get_broker as b; answer = b().queue_size() + b().lock_size()")
                == 0
            ),
            within=40,
            why=lambda: cluster.log,
        )
        assert "dead letters" not in cluster.log
        assert "reincarnated" not in cluster.log
    done = site.run(
        """
        from django_q.models import Task
        answer = {task.id: [task.success, task.func, str(task.result)] for task in Task.objects.all()}
        """
    )
    old = {ast.literal_eval(row["id"]) for row in rows["Task"]}
    assert old <= done.keys()
    new = {key: value for key, value in done.items() if key not in old}
    assert [value[1] for value in new.values() if not value[0]] == ["math.sqrt"]  # of -1: made to fail
    assert len(new) > len(queued) / 2  # the others are cached, not saved, or members of an iter
