"""A mistake in the settings gives one clear message, with what to do, and a status other than 0."""

from __future__ import annotations

import pytest

from .site import Site

MISTAKES = {
    "wrong type": ({"workers": "four"}, (), ["workers", "'four'"]),
    "out of range": ({"guard_cycle": 90}, (), ["guard_cycle", "90"]),
    "name of a dead-letter queue": ({"name": "mail-dead"}, (), ["mail-dead", "-dead", "cluster_name"]),
    "unknown start method": ({"start_method": "spoon"}, (), ["start_method", "spawn"]),
    "missing plug-in": ({"sqs": {}}, (), ["django-q-sqs", "pip install"]),
    "missing app": ({"orm": "default"}, (), ["django_q_orm", "INSTALLED_APPS"]),
    "unknown database": ({"orm": "elsewhere"}, ("django_q_orm",), ["elsewhere"]),
    "tables missing": ({"broker_class": "django_q.brokers.memory.MemoryBroker"}, (), ["run manage.py migrate"]),
    "no such broker class": ({"broker_class": "no.such.Broker"}, (), ["broker_class", "no.such"]),
}

WITHOUT_SQS = """
import importlib.metadata as metadata
entry_points = metadata.entry_points
metadata.entry_points = lambda **by: metadata.EntryPoints(each for each in entry_points(**by) if each.name != "sqs")
"""


@pytest.mark.parametrize("mistake", MISTAKES)
def test_qcluster_says_what_is_wrong_and_does_not_start(tmp_path, mistake):
    q_cluster, apps, says = MISTAKES[mistake]
    (tmp_path / "sitecustomize.py").write_text(WITHOUT_SQS)
    done = Site(tmp_path, {"name": "x", **q_cluster}, apps=apps).manage("qcluster", "--run-once", check=False)
    output = done.stdout + done.stderr
    assert done.returncode != 0, output
    assert "Traceback" not in output
    for text in says:
        assert text in output


def test_qcluster_does_not_work_on_dead_letters(tmp_path):
    site = Site(tmp_path, {"name": "mail", "broker_class": "django_q.brokers.memory.MemoryBroker"})
    for command in ("qcluster", "qdead"):
        done = site.manage(command, "-n", "mail-dead", check=False)
        output = done.stdout + done.stderr
        assert done.returncode != 0, output
        assert "Traceback" not in output
        assert "does not end in -dead" in output


def test_unknown_key_is_named_with_the_nearest_one(tmp_path):
    done = Site(tmp_path, {"name": "x", "recyle": 5}).manage("check", check=False)
    assert "recyle" in done.stderr
    assert "recycle" in done.stderr.replace("recyle", "")


def test_default_configuration_raises_no_warning(tmp_path):
    options = {"transaction_mode": "IMMEDIATE", "init_command": "PRAGMA journal_mode=WAL"}
    database = {"ENGINE": "django.db.backends.sqlite3", "NAME": str(tmp_path / "db.sqlite3"), "OPTIONS": options}
    done = Site(tmp_path, {}, database).manage("check")
    assert "no issues" in done.stdout
    assert done.stderr == ""
